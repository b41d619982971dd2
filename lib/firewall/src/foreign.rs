//! Other people's rulesets: whether they drop what is forwarded from and to a network, and, where the
//! administrator has agreed to it, a rule of Weft's among theirs that lets it through.

pub mod admission;
mod evaluate;
mod machine;
pub mod obstacles;
mod packet;
pub mod passage;
