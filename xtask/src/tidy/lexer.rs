//! Words of Rust source, with comments taken away.
//!
//! A rule that searched the raw text would be fooled by a comment between two words, by a raw identifier, or by a word in
//! a string. This lexer knows exactly so much of the language that it cannot be: comments (nested), strings of every
//! prefix, characters and lifetimes, raw identifiers, numbers. It refuses to know any grammar. It never fails: source that
//! rustc would refuse gives some tokens, and rustc says the rest.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An identifier or keyword, without its `r#`.
    Ident,
    /// A lifetime, without its quote.
    Lifetime,
    /// What stands between the quotes of a string, byte string or C string, escapes as written.
    Text,
    /// What stands between the quotes of a character or byte.
    Char,
    /// A number as written.
    Number,
    /// One character of punctuation.
    Punct,
}

/// One token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token<'a> {
    /// What it is.
    pub kind: Kind,
    /// As written, but see [`Kind`].
    pub text: &'a str,
    /// The line it begins on, from 1.
    pub line: usize,
}

impl Token<'_> {
    /// Whether it is this identifier or keyword, raw or not.
    pub fn is_ident(&self, name: &str) -> bool {
        self.kind == Kind::Ident && self.text == name
    }

    /// Whether it is this punctuation.
    pub fn is_punct(&self, mark: char) -> bool {
        self.kind == Kind::Punct && self.text.starts_with(mark)
    }

    /// Whether it is a number of a floating type.
    pub fn is_float(&self) -> bool {
        let text = self.text;
        let radix = ["0x", "0b", "0o"].iter().any(|prefix| text.starts_with(prefix));
        if self.kind != Kind::Number || radix {
            return false;
        }
        let after_digits = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '_');
        let exponent = after_digits
            .strip_prefix(['e', 'E'])
            .is_some_and(|rest| rest.trim_start_matches(['+', '-', '_']).starts_with(|c: char| c.is_ascii_digit()));
        text.contains('.') || exponent || ["f16", "f32", "f64", "f128"].iter().any(|suffix| text.ends_with(suffix))
    }
}

struct Cursor<'a> {
    source: &'a str,
    at: usize,
    line: usize,
}

fn starts_word(c: char) -> bool {
    c == '_' || c.is_alphabetic()
}

fn continues_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn second(&self) -> Option<char> {
        self.rest().chars().nth(1)
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        self.line += usize::from(c == '\n');
        Some(c)
    }

    fn bump_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let start = self.at;
        while self.peek().is_some_and(&wanted) {
            self.bump();
        }
        &self.source[start..self.at]
    }

    fn skip_block_comment(&mut self) {
        let mut depth = 0;
        loop {
            if self.rest().starts_with("/*") {
                depth += 1;
                self.bump();
            } else if self.rest().starts_with("*/") {
                depth -= 1;
                self.bump();
            }
            if self.bump().is_none() || depth == 0 {
                return;
            }
        }
    }

    /// Behind the opening quote; takes the closing one too.
    fn quoted(&mut self, quote: char) -> &'a str {
        let start = self.at;
        while let Some(c) = self.peek() {
            if c == quote {
                let text = &self.source[start..self.at];
                self.bump();
                return text;
            }
            if self.bump() == Some('\\') {
                self.bump();
            }
        }
        &self.source[start..self.at]
    }

    /// At the hashes or the quote behind `r`; none when this is no raw string.
    fn raw_quoted(&mut self) -> Option<&'a str> {
        let hashes = self.rest().bytes().take_while(|b| *b == b'#').count();
        if !self.rest()[hashes..].starts_with('"') {
            return None;
        }
        for _ in 0..=hashes {
            self.bump();
        }
        let close = format!("\"{}", "#".repeat(hashes));
        let start = self.at;
        let len = self.rest().find(&close).unwrap_or(self.rest().len());
        while self.at < (start + len + close.len()).min(self.source.len()) {
            self.bump();
        }
        Some(&self.source[start..start + len])
    }

    /// At a digit. Behind a dot that is a field access (`pair.0.1`) no fraction follows.
    fn number(&mut self, is_field: bool) -> &'a str {
        let start = self.at;
        let head = self.bump_while(continues_word);
        let decimal = !["0x", "0b", "0o"].iter().any(|prefix| head.starts_with(prefix));
        if is_field || !decimal {
            return &self.source[start..self.at];
        }
        let fraction = self.peek() == Some('.') && !self.second().is_some_and(|c| c == '.' || starts_word(c));
        if fraction {
            self.bump();
            self.bump_while(continues_word);
        }
        if self.source[start..self.at].ends_with(['e', 'E']) && matches!(self.peek(), Some('+' | '-')) {
            self.bump();
            self.bump_while(continues_word);
        }
        &self.source[start..self.at]
    }

    fn word_or_string(&mut self) -> (Kind, &'a str) {
        let word = self.bump_while(continues_word);
        let next = self.peek();
        match word {
            "r" | "br" | "cr" if matches!(next, Some('"' | '#')) => match self.raw_quoted() {
                Some(text) => (Kind::Text, text),
                None if word == "r" && self.second().is_some_and(starts_word) => {
                    self.bump();
                    (Kind::Ident, self.bump_while(continues_word))
                }
                None => (Kind::Ident, word),
            },
            "b" | "c" if next == Some('"') => {
                self.bump();
                (Kind::Text, self.quoted('"'))
            }
            "b" if next == Some('\'') => {
                self.bump();
                (Kind::Char, self.quoted('\''))
            }
            _ => (Kind::Ident, word),
        }
    }

    fn quote(&mut self) -> (Kind, &'a str) {
        self.bump();
        if self.peek() == Some('\\') || self.second() == Some('\'') {
            return (Kind::Char, self.quoted('\''));
        }
        if self.rest().starts_with("r#") {
            self.at += 2;
        }
        (Kind::Lifetime, self.bump_while(continues_word))
    }
}

/// The tokens of `source`, in order.
pub fn lex(source: &str) -> Vec<Token<'_>> {
    let mut cursor = Cursor { source, at: 0, line: 1 };
    let mut tokens: Vec<Token<'_>> = Vec::new();
    // A byte order mark and a shebang are not Rust; `#![` is.
    if source.starts_with('\u{feff}') {
        cursor.bump();
    }
    if cursor.rest().starts_with("#!") && !cursor.rest().starts_with("#![") {
        cursor.bump_while(|c| c != '\n');
    }
    while let Some(c) = cursor.peek() {
        let line = cursor.line;
        if c.is_whitespace() {
            cursor.bump();
            continue;
        }
        if cursor.rest().starts_with("//") {
            cursor.bump_while(|c| c != '\n');
            continue;
        }
        if cursor.rest().starts_with("/*") {
            cursor.skip_block_comment();
            continue;
        }
        let (kind, text) = match c {
            '"' => {
                cursor.bump();
                (Kind::Text, cursor.quoted('"'))
            }
            '\'' => cursor.quote(),
            c if c.is_ascii_digit() => {
                let dots = tokens.iter().rev().take(2).take_while(|t| t.is_punct('.')).count();
                (Kind::Number, cursor.number(dots == 1))
            }
            c if starts_word(c) => cursor.word_or_string(),
            _ => {
                let start = cursor.at;
                cursor.bump();
                (Kind::Punct, &source[start..cursor.at])
            }
        };
        tokens.push(Token { kind, text, line });
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, expected: &[(Kind, &str)]) {
        let found: Vec<_> = lex(source).iter().map(|t| (t.kind, t.text)).collect();
        assert_eq!(found, expected, "{source}");
    }

    #[test]
    fn comments_are_no_words_however_they_nest() {
        use Kind::*;
        check("a // std\nb /* std /* std */ std */ c", &[(Ident, "a"), (Ident, "b"), (Ident, "c")]);
        check("/// std\n//! std\na", &[(Ident, "a")]);
        check("a /* never closed", &[(Ident, "a")]);
    }

    #[test]
    fn strings_are_no_words_whatever_their_prefix() {
        use Kind::*;
        check(r#" "std \" std" x "#, &[(Text, r#"std \" std"#), (Ident, "x")]);
        check("r\"a\\\" b", &[(Text, "a\\"), (Ident, "b")]);
        check("r##\"a\"# b\"## c", &[(Text, "a\"# b"), (Ident, "c")]);
        check("b\"std\" br#\"std\"# c\"std\" x", &[(Text, "std"), (Text, "std"), (Text, "std"), (Ident, "x")]);
        check("\"// no comment\" x", &[(Text, "// no comment"), (Ident, "x")]);
    }

    #[test]
    fn a_raw_identifier_is_the_identifier() {
        use Kind::*;
        check("r#std r #std", &[(Ident, "std"), (Ident, "r"), (Punct, "#"), (Ident, "std")]);
    }

    #[test]
    fn characters_and_lifetimes_are_told_apart() {
        use Kind::*;
        check(
            "'a' 'a '\\'' b'\\'' 'static",
            &[(Char, "a"), (Lifetime, "a"), (Char, "\\'"), (Char, "\\'"), (Lifetime, "static")],
        );
        check("'\"' x '/' y", &[(Char, "\""), (Ident, "x"), (Char, "/"), (Ident, "y")]);
    }

    #[test]
    fn floats_are_known_from_ranges_fields_and_methods() {
        let floats = |s: &str| lex(s).iter().filter(|t| t.is_float()).count();
        for (source, expected) in [
            ("1.0", 1),
            ("1.", 1),
            ("1e9 2E-3 1_0e+1", 3),
            ("1f32 2_f64", 2),
            ("0..9 ..=9", 0),
            ("pair.0.1", 0),
            ("1.max(2)", 0),
            ("0x1e5 0b1 0xf32", 0),
            ("1usize 0u8 1_000", 0),
            ("..0.5", 1),
        ] {
            assert_eq!(floats(source), expected, "{source}");
        }
    }

    #[test]
    fn lines_are_counted_through_strings_and_comments() {
        let lines: Vec<_> = lex("a\n\"x\ny\" b /*\n\n*/ c").iter().map(|t| t.line).collect();
        assert_eq!(lines, [1, 2, 3, 5]);
    }
}
