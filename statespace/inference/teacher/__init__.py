"""Models without a latent state: exact by teacher forcing."""

from statespace.inference.teacher.method import TeacherForcing

__all__ = ["TeacherForcing"]
