"""The web server: who may ask, what is answered, and the page for browsers."""
