"""Where measurements go: tables, manifest, pictures, recordings, OpenIGTLink, the web page; measures nothing."""
