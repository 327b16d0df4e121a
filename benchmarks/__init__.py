"""How fast and how right the product is; imported by nothing that users run but `partum bench`."""
