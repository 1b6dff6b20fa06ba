//! Vectors of one id: a verdict is told by its id, which should be of one request alone. They are run all the same.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::Vector;

/// A vector file that was read.
pub(super) struct File {
    /// Where it is.
    pub path: PathBuf,
    /// Its vectors by their ids, in its order; what is none, with why not.
    pub vectors: Vec<(String, Result<Vector, String>)>,
}

/// Every id that several vectors have, with the places of the first and of each other one.
pub(super) fn repeats(files: &[File]) -> Vec<String> {
    let mut first: HashMap<&str, (&Path, usize)> = HashMap::new();
    let mut repeats = Vec::new();
    for file in files {
        for (number, (id, _)) in (1..).zip(&file.vectors) {
            let here = (file.path.as_path(), number);
            if let Some((path, before)) = first.get(id.as_str()) {
                let (path, other) = (path.display(), file.path.display());
                repeats.push(format!(
                    "two vectors are called {id:?}: number {before} of {path}, and number {number} of {other}; \
                     give each an id of its own"
                ));
            } else {
                first.insert(id, here);
            }
        }
    }
    repeats
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, ids: &[&str]) -> File {
        let vector = |id: &&str| ((*id).to_owned(), Err("no matter".to_owned()));
        File { path: path.into(), vectors: ids.iter().map(vector).collect() }
    }

    #[test]
    fn an_id_that_stands_twice_is_told_with_both_places() {
        let advice = "; give each an id of its own";
        assert!(repeats(&[file("a.json", &["one", "two"]), file("b.json", &["three"])]).is_empty());
        assert_eq!(
            repeats(&[file("a.json", &["one", "two", "one"]), file("b.json", &["three", "two"])]),
            [
                format!("two vectors are called \"one\": number 1 of a.json, and number 3 of a.json{advice}"),
                format!("two vectors are called \"two\": number 2 of a.json, and number 2 of b.json{advice}"),
            ]
        );
    }
}
