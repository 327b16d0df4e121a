"""What a training's configuration may hold, checked to the last key; nothing that trains."""
