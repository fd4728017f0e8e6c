"""From a call of an Invoke task to what is done for one app or several."""
