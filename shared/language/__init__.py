"""Language models as the trainer and the inference service both need them: loaded, told a chat, and scored.

What is trained on is what is served, because both sides come here for it. torch and transformers are imported by these
modules and by those two services, nowhere else.
"""
