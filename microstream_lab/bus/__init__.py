"""Bars and signals on Kafka: what messages look like, and how they come and go.

Invariant: this room alone imports confluent_kafka, which is the extra ``kafka``; without it
everything else works.
"""
