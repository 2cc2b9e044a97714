"""The house: pages for the people of the shop, who want to see what goes on and why."""
