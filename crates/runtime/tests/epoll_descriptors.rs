//! The tests of descriptors that run out once more, over epoll. Alone in their process: they take them all.

#[path = "descriptors.rs"]
mod descriptors;
