"""The platform's contract: variables in, callbacks and uploads out. Without this folder all the rest works."""
