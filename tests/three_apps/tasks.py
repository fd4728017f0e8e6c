from deploy_tasks import ns

__all__ = ["ns"]
