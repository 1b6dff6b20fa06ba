//! That no two vectors have one id: a verdict that is told by its id must be told of one request alone.

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

/// # Errors
/// Every id that several vectors have, with the places of the first and of each other one.
pub(super) fn check(files: &[File]) -> anyhow::Result<()> {
    let mut first: HashMap<&str, (&Path, usize)> = HashMap::new();
    let mut errors = Vec::new();
    for file in files {
        for (number, (id, _)) in (1..).zip(&file.vectors) {
            let here = (file.path.as_path(), number);
            if let Some((path, before)) = first.get(id.as_str()) {
                let (path, other) = (path.display(), file.path.display());
                errors.push(format!(
                    "two vectors are called {id:?}: number {before} of {path}, and number {number} of {other}"
                ));
            } else {
                first.insert(id, here);
            }
        }
    }
    anyhow::ensure!(errors.is_empty(), "{}; give each an id of its own", errors.join("\n"));
    Ok(())
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
        assert!(check(&[file("a.json", &["one", "two"]), file("b.json", &["three"])]).is_ok());
        let told = check(&[file("a.json", &["one", "two", "one"]), file("b.json", &["three", "two"])]);
        assert_eq!(
            told.unwrap_err().to_string(),
            "two vectors are called \"one\": number 1 of a.json, and number 3 of a.json\n\
             two vectors are called \"two\": number 2 of a.json, and number 2 of b.json; give each an id of its own"
        );
    }
}
