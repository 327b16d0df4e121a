"""Everything fitted to data: trained, calibrated, evaluated, built; nothing of it runs while a stream is measured."""
