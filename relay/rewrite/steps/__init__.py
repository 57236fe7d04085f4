"""Steps of a rewrite: pipeline stages that change, drop or sample messages."""
