//! A writer for the XML of answers: elements and text, nothing else, since nothing else occurs.
//!
//! Whatever text it is given, what it writes is well-formed: markup is escaped, and characters that XML 1.0 forbids are dropped. (No
//! request can bring such characters in, but stored text may be older than that rule.)

mod answer;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use answer::framed;
pub use answer::{CONTENT_TYPE, answer, answer_keeping, error};

use crate::timestamp::Timestamp;

/// Whether XML 1.0 has a way to carry it.
pub(crate) const fn is_writable(c: char) -> bool {
    !matches!(c, '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\u{fffe}' | '\u{ffff}')
}

/// Writes elements behind each other.
#[derive(Debug, Default)]
pub struct Writer<'a> {
    text: String,
    kept: Vec<&'a str>,
}

impl<'a> Writer<'a> {
    /// A writer of nothing so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes lists of these names also when they are empty.
    pub fn keep(&mut self, lists: &[&'a str]) {
        self.kept.extend_from_slice(lists);
    }

    /// What was written.
    pub fn finish(self) -> String {
        self.text
    }

    /// Writes an element with what `content` writes, and briefly if that is nothing.
    pub fn element(&mut self, name: &str, content: impl FnOnce(&mut Self)) {
        self.element_with(name, "", content);
    }

    /// The same, with attributes that are written as they are: ` xmlns="..."`.
    fn element_with(&mut self, name: &str, attributes: &str, content: impl FnOnce(&mut Self)) {
        self.text.extend(["<", name, attributes, ">"]);
        let start = self.text.len();
        content(self);
        if self.text.len() == start {
            self.text.truncate(start - 1);
            self.text.push_str("/>");
        } else {
            self.text.extend(["</", name, ">"]);
        }
    }

    /// Writes text.
    pub fn text(&mut self, text: &str) {
        for c in text.chars().filter(|c| is_writable(*c)) {
            match c {
                '&' => self.text.push_str("&amp;"),
                '<' => self.text.push_str("&lt;"),
                '>' => self.text.push_str("&gt;"),
                '"' => self.text.push_str("&quot;"),
                // Readers make a line feed of it where it stands bare.
                '\r' => self.text.push_str("&#xD;"),
                other => self.text.push(other),
            }
        }
    }
}

/// What an element can hold.
pub trait ToXml {
    /// Writes what stands between its tags.
    fn write(&self, out: &mut Writer<'_>);
}

impl ToXml for str {
    fn write(&self, out: &mut Writer<'_>) {
        out.text(self);
    }
}

impl ToXml for String {
    fn write(&self, out: &mut Writer<'_>) {
        out.text(self);
    }
}

macro_rules! as_displayed {
    ($($kind:ty)*) => {$(
        impl ToXml for $kind {
            fn write(&self, out: &mut Writer<'_>) {
                out.text(&self.to_string());
            }
        }
    )*};
}

as_displayed! { bool i32 i64 Timestamp }

impl ToXml for f64 {
    fn write(&self, out: &mut Writer<'_>) {
        match *self {
            f64::INFINITY => out.text("Infinity"),
            f64::NEG_INFINITY => out.text("-Infinity"),
            // With a point always: some readers tell numbers apart by it.
            other => out.text(&format!("{other:?}")),
        }
    }
}

impl<T: ToXml> ToXml for Box<T> {
    fn write(&self, out: &mut Writer<'_>) {
        T::write(self, out);
    }
}

/// What a member of an answer can be.
pub trait Part {
    /// Writes it under its name, if there is anything to write. A list has a name for its elements, too: `volumeSet/item`.
    fn write_as(&self, name: &'static str, out: &mut Writer<'_>);
}

impl<T: ToXml> Part for Option<T> {
    fn write_as(&self, name: &'static str, out: &mut Writer<'_>) {
        if let Some(value) = self {
            out.element(name, |out| value.write(out));
        }
    }
}

impl Part for String {
    fn write_as(&self, name: &'static str, out: &mut Writer<'_>) {
        out.element(name, |out| out.text(self));
    }
}

impl<T: ToXml> Part for Vec<T> {
    fn write_as(&self, name: &'static str, out: &mut Writer<'_>) {
        let (name, element) = name.split_once('/').unwrap_or((name, ""));
        let items = |element: &str, out: &mut Writer<'_>| {
            for item in self {
                out.element(element, |out| item.write(out));
            }
        };
        if element.is_empty() {
            items(name, out);
        } else if !self.is_empty() || out.kept.contains(&name) {
            out.element(name, |out| items(element, out));
        }
    }
}
