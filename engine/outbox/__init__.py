"""The outbox: each message is a row before anything is done for it, and its key is unique for ever."""
