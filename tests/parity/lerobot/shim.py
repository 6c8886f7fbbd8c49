"""Lets torchvision for CUDA be imported beside torch for CPUs: the operators it would register are not used."""

import sys
import types

for name in ("torchvision._meta_registrations", "torchvision._autograd_registrations"):
    sys.modules.setdefault(name, types.ModuleType(name))
