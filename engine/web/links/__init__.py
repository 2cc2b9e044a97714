"""The pages that mails link to: each shows by GET and changes by POST, and each change is a fact."""
