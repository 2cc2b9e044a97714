"""The engine on other clocks and databases: apply, scenarios, the demo, previews."""
