"""From a trained policy to a robot: exported artefacts, an engine without torch, and a policy server."""
