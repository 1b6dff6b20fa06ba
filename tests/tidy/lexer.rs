//! As much of Rust's syntax as the rules need: comments, literals, test parts, functions and paths.

use std::ops::Range;

/// A Rust file as the rules see it.
#[derive(Debug)]
pub struct Source {
    /// From the root of the tree.
    pub path: String,
    /// As written.
    pub raw: String,
    /// Comments, the insides of literals and the test parts blanked; lines and offsets as in `raw`.
    pub code: String,
    /// String literals outside the test parts, with their lines.
    pub literals: Vec<(usize, String)>,
    test_lines: usize,
}

/// A function with a body.
#[derive(Debug)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// The line of its `fn`.
    pub line: usize,
    /// From there to the closing brace.
    pub lines: usize,
}

impl Source {
    /// Reads a file's text; a file named `tests.rs`, and all of the simulation, is a test part as a whole.
    pub fn new(path: &str, raw: &str) -> Self {
        let (mut code, spans) = blank(raw);
        let mut tests = test_parts(&code);
        if path.ends_with("/tests.rs") || path.contains("/tests/") || path.starts_with("src/simulation/") {
            tests.clear();
            tests.push(0..raw.len());
        }
        let in_tests = |at: usize| tests.iter().any(|part| part.contains(&at));
        let literal = |span: &Range<usize>| (line_of(raw, span.start), raw[span.clone()].to_owned());
        let literals = spans.iter().filter(|span| !in_tests(span.start)).map(literal).collect();
        let test_lines = tests.iter().map(|part| raw[part.clone()].lines().count()).sum();
        for part in tests {
            erase(&mut code, part);
        }
        let code = String::from_utf8(code).expect("only whole characters were blanked");
        Self { path: path.to_owned(), raw: raw.to_owned(), code, literals, test_lines }
    }

    /// Lines less those of the test parts.
    pub fn lines_outside_tests(&self) -> usize {
        self.raw.lines().count().saturating_sub(self.test_lines)
    }

    /// The line, from 1, of an offset.
    pub fn line_of(&self, at: usize) -> usize {
        line_of(&self.raw, at)
    }

    /// Where `text` stands as a token of its own, not as the end of a longer name.
    pub fn find_token(&self, text: &str) -> Vec<usize> {
        let named = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let bytes = self.code.as_bytes();
        let begins = |at: usize| !named(text.as_bytes()[0]) || at == 0 || !named(bytes[at - 1]);
        let ends = |at: usize| {
            let last = text.as_bytes()[text.len() - 1];
            // `fs::remove_` stands for a family; whole names must end where they end.
            !last.is_ascii_alphanumeric() || bytes.get(at + text.len()).is_none_or(|next| !named(*next))
        };
        let hits = self.code.match_indices(text).map(|(at, _)| at);
        hits.filter(|at| begins(*at) && ends(*at)).collect()
    }

    /// Whether the name at `at` goes on a path of this crate (`crate::dedup::redis::…`), or begins one with
    /// a module that this file declares (`mod redis;`).
    pub fn is_own_path(&self, at: usize) -> bool {
        let (before, after) = self.code.split_at(at);
        let named = |c: char| c.is_alphanumeric() || c == '_';
        let start = before.rfind(|c: char| !named(c) && c != ':').map_or(0, |i| i + 1);
        let name = &after[..after.find(|c: char| !named(c)).unwrap_or(after.len())];
        let declared = start == at && !self.find_token(&format!("mod {name};")).is_empty();
        declared || ["crate::", "super::", "self::"].iter().any(|root| before[start..].starts_with(root))
    }

    /// The module that this file is, as path segments: empty for lib.rs.
    pub fn module(&self) -> Vec<String> {
        let inside = self.path.strip_prefix("src/").unwrap_or(&self.path).trim_end_matches(".rs");
        let segments = inside.split('/').filter(|segment| !["lib", "mod"].contains(segment));
        segments.map(str::to_owned).collect()
    }

    /// Every path that begins with `crate` or `super`, expanded, with its line.
    pub fn imports(&self, module: &[String]) -> Vec<(usize, Vec<String>)> {
        let mut found = Vec::new();
        for root in ["crate::", "super::"] {
            for at in self.find_token(root) {
                let (mut rest, mut base) = (&self.code[at..], module.to_vec());
                if root == "crate::" {
                    base.clear();
                    rest = &rest[root.len()..];
                } else if self.code[..at].ends_with("super::") {
                    continue;
                } else if self.path.ends_with("/mod.rs") {
                    base.push(String::new());
                }
                while let Some(upper) = rest.strip_prefix("super::") {
                    base.pop();
                    rest = upper;
                }
                let mut paths = Vec::new();
                expand(rest, &base, &mut paths);
                paths.retain(|path| {
                    path.first().is_some_and(|s| s.starts_with(|c: char| c.is_ascii_lowercase()))
                });
                found.extend(paths.into_iter().map(|path| (self.line_of(at), path)));
            }
        }
        found
    }

    /// Functions with bodies, closures and test parts aside.
    pub fn functions(&self) -> Vec<Function> {
        let mut found = Vec::new();
        for at in self.find_token("fn ") {
            let Some(open) = self.code[at..].find(['{', ';']).map(|i| at + i) else { continue };
            if self.code.as_bytes()[open] == b';' {
                continue;
            }
            let end = closing(self.code.as_bytes(), open);
            let name = self.code[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let lines = self.raw[at..end].lines().count();
            found.push(Function { name, line: self.line_of(at), lines });
        }
        found
    }
}

/// Expands a use tree: `a::{b, c::d}` after `base` gives `base::a::b` and `base::a::c::d`. Returns how far
/// it read.
fn expand(text: &str, base: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let bytes = text.as_bytes();
    let (mut path, mut at) = (base.to_vec(), 0);
    loop {
        if bytes.get(at) == Some(&b'{') {
            at += 1;
            while at < bytes.len() && bytes[at] != b'}' {
                let read = expand(&text[at..], &path, found);
                at += read.max(1);
            }
            return at + 1;
        }
        let blank = text[at..].len() - text[at..].trim_start().len();
        let start = if at == 0 { blank } else { at };
        let len =
            text[start..].find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len() - start);
        if len > 0 && &text[start..start + len] != "self" {
            path.push(text[start..start + len].to_owned());
        }
        at = start + len;
        if !text[at..].starts_with("::") || text[at..].starts_with("::<") {
            if len > 0 {
                found.push(path);
            }
            return at;
        }
        at += 2;
    }
}

/// The offset after the brace that closes the one at `open`.
fn closing(code: &[u8], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.iter().enumerate().skip(open) {
        depth = match byte {
            b'{' => depth + 1,
            b'}' => depth - 1,
            _ => depth,
        };
        if depth == 0 {
            return at + 1;
        }
    }
    code.len()
}

/// The items under `#[cfg(test)]`, attribute included.
fn test_parts(code: &[u8]) -> Vec<Range<usize>> {
    const MARK: &[u8] = b"#[cfg(test)]";
    let (mut parts, mut at) = (Vec::new(), 0);
    while let Some(found) = code[at..].windows(MARK.len()).position(|w| w == MARK) {
        let start = at + found;
        let item =
            code[start..].iter().position(|b| matches!(b, b'{' | b';')).map_or(code.len(), |i| start + i);
        at = if code.get(item) == Some(&b'{') { closing(code, item) } else { (item + 1).min(code.len()) };
        parts.push(start..at);
    }
    parts
}

/// The text with comments and the insides of literals blanked, and where string literals stood.
fn blank(raw: &str) -> (Vec<u8>, Vec<Range<usize>>) {
    let (mut code, mut literals, mut at) = (raw.as_bytes().to_vec(), Vec::new(), 0);
    while at < raw.len() {
        let rest = &raw[at..];
        if rest.starts_with("//") {
            let end = at + rest.find('\n').unwrap_or(rest.len());
            erase(&mut code, at..end);
            at = end;
        } else if rest.starts_with("/*") {
            let end = at + rest.find("*/").map_or(rest.len(), |i| i + 2);
            erase(&mut code, at..end);
            at = end;
        } else if let Some((inside, whole)) = string(raw, at) {
            erase(&mut code, inside.clone());
            literals.push(inside);
            at = whole;
        } else if let Some(len) = character(rest) {
            erase(&mut code, at + 1..at + len - 1);
            at += len;
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    (code, literals)
}

/// The string literal at `at`: the range inside its quotes and the offset after it.
fn string(raw: &str, at: usize) -> Option<(Range<usize>, usize)> {
    let rest = &raw[at..];
    let joined = raw[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    let hashes = rest.strip_prefix('r').map(|r| r.len() - r.trim_start_matches('#').len());
    if let (Some(hashes), false) = (hashes, joined && !raw[..at].ends_with('b'))
        && rest[1 + hashes..].starts_with('"')
    {
        let start = at + hashes + 2;
        let close = format!("\"{}", "#".repeat(hashes));
        let end = start + raw[start..].find(&close).unwrap_or(raw.len() - start);
        return Some((start..end, (end + close.len()).min(raw.len())));
    }
    rest.strip_prefix('"')?;
    let mut escaped = false;
    for (i, c) in rest.char_indices().skip(1) {
        match c {
            '"' if !escaped => return Some((at + 1..at + i, at + i + 1)),
            _ => escaped = c == '\\' && !escaped,
        }
    }
    None
}

/// The length of the character literal at the start of `rest`; none for a lifetime.
fn character(rest: &str) -> Option<usize> {
    let inside = rest.strip_prefix('\'')?;
    if inside.starts_with('\\') {
        return inside[2..].find('\'').map(|i| i + 4);
    }
    let len = inside.chars().next()?.len_utf8();
    inside[len..].starts_with('\'').then_some(len + 2)
}

fn erase(code: &mut [u8], range: Range<usize>) {
    for byte in &mut code[range] {
        if *byte != b'\n' {
            *byte = b' ';
        }
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}
