"""Every public call of the package with its parts on either side of a GPU: a real one, or `tests.pretend_gpu`."""
