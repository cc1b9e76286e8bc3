"""What the HTTP shells share: who asks, how errors are told, what is counted, and one waiter on the log for all."""
