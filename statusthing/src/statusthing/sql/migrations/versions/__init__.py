"""The steps of the history, one a module. A step that was released never changes again."""
