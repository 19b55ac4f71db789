//! Many nodes, one service: who lives, what they tell each other, who answers for what.
