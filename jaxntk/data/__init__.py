"""Images and benchmark tables: everything that is read from outside the program."""
