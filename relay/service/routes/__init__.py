"""From conditions, steps and formats to the routes that messages take."""
