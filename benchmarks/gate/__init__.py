"""How often the gate lets releases pass that are worse than the champion, and what adds up over many of them."""
