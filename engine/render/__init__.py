"""From a template and a customer's facts to a finished mail.

`render.render` makes subject, HTML and text; `compose.compose` adds addresses and headers; `lint.lint` says beforehand
what would go wrong. `library.TemplateLibrary` holds the templates that were applied.
"""
