"""Scheduled backups: pure decisions here, adapters to destinations and channels below."""
