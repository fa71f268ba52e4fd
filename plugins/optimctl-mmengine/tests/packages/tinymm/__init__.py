"""What a package of OpenMMLab looks like to MMEngine: registries of its own scope, and classes in them."""
