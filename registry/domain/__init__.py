"""What the registry knows and decides: events, commands, decide, apply, plan, policies. Pure; no time, ids or I/O."""
