"""The pages: rendered here, with a little JavaScript that keeps them live. They call the application, nothing else."""

from registry.web.app import error_page, routes

__all__ = ["error_page", "routes"]
