"""Synthetic anatomy with labels, for the demo, the tests and the benchmarks."""

from medssl.phantom.organs import ORGANS
from medssl.phantom.physique import SUBJECT_CLASSES
from medssl.phantom.subject import PhantomModality, PhantomSubject, make_subject

__all__ = ["ORGANS", "SUBJECT_CLASSES", "PhantomModality", "PhantomSubject", "make_subject"]
