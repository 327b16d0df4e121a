"""Where the ultrasound sector lies in a picture: detected, fitted, tracked; nothing of what it shows."""
