"""The domain: state, action, prompt, completion, decision. Pure; knows no queue, web or model."""
