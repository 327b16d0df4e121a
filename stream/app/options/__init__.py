"""What may be asked for: options declared once, the types of their values, configuration files. Nothing is run here."""
