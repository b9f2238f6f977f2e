"""Data that Slipway ships: `customer_messages.csv`, columns text and label, written for this project."""
