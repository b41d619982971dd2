//! Rules in files: `/etc/weft/policies.d/*.toml`.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::Value;
use weft_cni::conf::{Fields, KeySpec, Problems};
use weft_cni::{CniError, Code};

use super::read::of_file;
use super::rule::Rule;

const FILE_KEYS: &[KeySpec] = &[KeySpec::new(
    "allow",
    "list of rules",
    "",
    "what is allowed",
)];

/// One file and its rules.
#[derive(Debug, Clone)]
pub struct PolicyFile {
    /// The file, in the policy directory.
    pub path: PathBuf,
    /// Its rules, in their order.
    pub rules: Vec<Rule>,
}

/// Reads every file of the directory, in the order of their names. No directory is no rules; one that cannot be
/// read is not: what is in force stays.
///
/// # Errors
/// Code 7 with every problem of every file; code 5 for the directory or a file that cannot be read.
pub fn read_files(directory: &Path) -> Result<Vec<PolicyFile>, CniError> {
    let paths = match list(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            let text = format!("{}: cannot be read: {error}", directory.display());
            return Err(CniError::new(Code::Io, text)
                .with_details("the rules in force stay; make the directory readable"));
        }
        Ok(paths) => paths,
    };
    let mut files = Vec::new();
    let mut problems = Vec::new();
    for path in paths {
        match read_file(&path) {
            Ok(file) => files.push(file),
            Err(error) => problems.push(format!("{}: {}", path.display(), error.msg)),
        }
    }
    if problems.is_empty() {
        return Ok(files);
    }
    Err(CniError::new(Code::InvalidConfig, problems.join("; "))
        .with_details("correct the file; weft policy check shows what is wrong with it"))
}

/// The policy files of a directory, by name.
fn list(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Reads one file.
///
/// # Errors
/// Code 7 with every problem; code 5 if it cannot be read.
pub fn read_file(path: &Path) -> Result<PolicyFile, CniError> {
    let text = weft_cni::file::read_text(path)
        .map_err(|error| CniError::new(Code::Io, error.to_string()))?;
    let document: Value = toml::from_str(&text)
        .map_err(|error| CniError::new(Code::InvalidConfig, one_line(&error)))?;
    let problems = Problems::default();
    let empty = serde_json::Map::new();
    let fields = Fields::new(
        document.as_object().unwrap_or(&empty),
        "",
        &[FILE_KEYS],
        &problems,
    );
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let rules = of_file(&name, &fields);
    // A key that is misspelt would open more, or less, than is meant.
    problems.into_result(true)?;
    Ok(PolicyFile {
        path: path.to_owned(),
        rules,
    })
}

fn one_line(error: &toml::de::Error) -> String {
    error
        .to_string()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Rule>, CniError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db.toml");
        std::fs::write(&path, text).unwrap();
        read_file(&path).map(|file| file.rules)
    }

    #[test]
    fn rules_are_read() {
        let rules = read(
            "[[allow]]\nname = \"web\"\nfrom = { network = \"prod\", label = { app = \"web\" } }\n\
             to = { name = \"db\" }\nports = [\"tcp/5432\"]\n\
             [[allow]]\nfrom = { name = \"web\" }\nto = { cidr = \"192.0.2.0/24\" }\n\
             [[allow]]\nfrom = \"any\"\nto = { network = \"prod\" }\nports = [\"icmp\"]\n",
        )
        .unwrap();
        let texts: Vec<String> = rules.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "db.toml, \"web\": from network prod, label app=web to name db: tcp/5432",
                "db.toml, rule 2: from name web to 192.0.2.0/24: everything",
                "db.toml, rule 3: from any to network prod: icmp",
            ]
        );
    }

    #[test]
    fn a_directory_that_cannot_be_read_is_not_one_without_rules() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read_files(&dir.path().join("none")).unwrap().is_empty());
        let file = dir.path().join("policies.d");
        std::fs::write(&file, "").unwrap();
        let error = read_files(&file).unwrap_err();
        assert_eq!(error.code, 5);
        assert!(error.msg.contains("policies.d"), "{}", error.msg);
    }

    #[test]
    fn every_problem_is_named() {
        let error = read(
            "[[allow]]\nfrom = { }\nto = { cidr = [\"10.0.0.0/8\", \"10.1.0.0/16\"] }\n\
             ports = [\"tcp/99999\"]\nwho = 1\n",
        )
        .unwrap_err();
        for part in ["from", "10.1.0.0/16", "is within", "tcp/99999"] {
            assert!(error.msg.contains(part), "{part}: {}", error.msg);
        }
        assert!(read("[[allow]\n").unwrap_err().msg.contains("line 1"));
        let unknown = read("[[allow]]\nfrom = \"any\"\nto = \"any\"\nport = [\"tcp/80\"]\n");
        assert!(unknown.unwrap_err().msg.contains("did you mean"));
    }
}
