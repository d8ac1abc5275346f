//! The tests of connections that end together once more, over epoll. Alone in their process: they count its descriptors.

#[path = "mass_close.rs"]
mod mass_close;
