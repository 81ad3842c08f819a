"""How a model is asked: one Question over the network, one Reply, whatever the API behind it.

    backend = make_backend(parse_policy("tgi:http://127.0.0.1:8080"), settings, limiter)
    reply = await backend.ask(Question((("user", "… What move do you use?"),), ("move Surf", "move Toxic")))

A reply says what the model did, good or bad. What is not the model's doing (a server that is away for longer
than anybody wants to wait, a refused key) is no reply: it raises Unreachable, and the battle is broken rather
than played by a substitute.
"""

from services.arena.backends.base import Backend, Candidate, Form, Question, Reply, ServedModel
from services.arena.backends.make import make_backend

__all__ = ["Backend", "Candidate", "Form", "Question", "Reply", "ServedModel", "make_backend"]
