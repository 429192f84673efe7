//! What the documents say of the code is so: rules and tests name each other, and flags that are shown exist.

#![cfg(feature = "server")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Flags of other programs that our documents name.
const FOREIGN: [&str; 4] = ["--documents", "--host", "--memory", "--only"];

/// What a rule says that has no test of its own name.
const NO_TEST: &str = "No test of its own:";

fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files below `folder` that the project wrote itself.
fn files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if ["node_modules", "dist", "build", ".venv", "target"].contains(&name.as_str()) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found
}

/// The number at the head of `text`, as `a2`, and what follows it.
fn number(text: &str) -> Option<(String, &str)> {
    let letter = text.chars().next().filter(char::is_ascii_alphabetic)?;
    let digits = text[1..].bytes().take_while(u8::is_ascii_digit).count();
    let rest = &text[1 + digits..];
    let ends = !rest.starts_with(|next: char| next.is_ascii_alphanumeric());
    (digits > 0 && ends).then(|| (format!("{}{}", letter.to_ascii_lowercase(), &text[1..=digits]), rest))
}

/// The numbers at the head of `text`, however they are strung together.
fn numbers(mut text: &str) -> Vec<String> {
    let mut found = Vec::new();
    while let Some((one, rest)) = number(text) {
        found.push(one);
        text = rest.trim_start_matches([' ', ',', '_']);
        text = ["and ", "to "]
            .iter()
            .find_map(|word| text.strip_prefix(word))
            .unwrap_or(text);
    }
    found
}

/// The rules of SPEC.md, each with its text.
fn rules() -> BTreeMap<String, String> {
    let spec = read("docs/SPEC.md");
    let mut rules = BTreeMap::new();
    let mut last = Vec::new();
    for line in spec.lines() {
        let row = line
            .strip_prefix("| ")
            .filter(|row| number(row).is_some_and(|(_, rest)| rest.starts_with(" |")));
        if let Some(head) = line.strip_prefix("* **").or(row) {
            last = numbers(head);
            for rule in &last {
                let before = rules.insert(rule.clone(), String::new());
                assert_eq!(before, None, "rule {rule} is given twice");
            }
        } else if !line.starts_with("  ") {
            last.clear();
        }
        for rule in &last {
            let text: &mut String = rules.get_mut(rule).expect("inserted");
            text.push_str(line.trim());
            text.push(' ');
        }
    }
    rules
}

/// The names of the tests of a file.
fn tests_of(path: &Path) -> Vec<String> {
    let name = path.to_string_lossy().into_owned();
    let is_script = [".js", ".mjs", ".ts", ".tsx"].iter().any(|end| name.ends_with(end));
    if !is_script && !name.ends_with(".rs") {
        return Vec::new();
    }
    let text = fs::read_to_string(path).expect("text");
    let mut found = Vec::new();
    // Its functions are the tests of each store.
    let is_contract = name.ends_with("/contract.rs");
    let mut is_test = is_contract;
    for line in text.lines().map(str::trim) {
        if is_script {
            let call = ["test(", "it(", "describe("]
                .iter()
                .find_map(|call| line.strip_prefix(call));
            found.extend(call.and_then(|name| name.get(1..)).map(str::to_owned));
        } else if line.starts_with("#[") {
            is_test |= line.contains("test");
        } else if let Some((_, name)) = line
            .split_once("fn ")
            .filter(|_| std::mem::replace(&mut is_test, is_contract))
        {
            found.push(name.to_owned());
        }
    }
    found
}

#[test]
fn each_rule_has_a_test_and_each_test_a_rule() {
    let rules = rules();
    let mut tested = BTreeSet::new();
    let mut unknown = Vec::new();
    for path in ["src", "tests", "web-demo"].into_iter().flat_map(files) {
        for test in tests_of(&path) {
            // Tests that need a database to themselves say so in front.
            let named = ["alone_", "failover_"].iter().find_map(|word| test.strip_prefix(word));
            for rule in numbers(named.unwrap_or(&test)) {
                if !rules.contains_key(&rule) {
                    unknown.push(format!("{}: {test}", path.display()));
                }
                tested.insert(rule);
            }
        }
    }
    let untested = rules
        .iter()
        .filter(|(rule, text)| !tested.contains(*rule) && !text.contains(NO_TEST));
    let untested: Vec<_> = untested.map(|(rule, _)| rule).collect();

    assert!(rules.len() > 200, "{} rules were found", rules.len());
    assert!(
        unknown.is_empty(),
        "these tests name rules that SPEC.md does not have: {unknown:#?}"
    );
    assert!(
        untested.is_empty(),
        "these rules have no test whose name begins with them, and do not say \"{NO_TEST} why\": {untested:?}"
    );
}

/// What `cowrite` prints with these arguments.
fn run(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_cowrite")).args(arguments).output();
    String::from_utf8(output.expect("the binary runs").stdout).expect("UTF-8")
}

/// What it says of itself, with all its commands.
fn help() -> String {
    let mut all = String::new();
    let mut commands: Vec<Vec<String>> = vec![Vec::new()];
    while let Some(command) = commands.pop() {
        let arguments: Vec<&str> = command.iter().map(String::as_str).chain(["--help"]).collect();
        let text = run(&arguments);
        let listed = text.split_once("\nCommands:\n").map_or("", |(_, rest)| rest);
        for line in listed.lines().take_while(|line| line.starts_with("  ")) {
            let name = line.split_whitespace().next().unwrap_or_default();
            commands.push([&command[..], &[name.to_owned()]].concat());
        }
        all.push_str(&text);
    }
    all
}

/// The words of `text` that are flags: `--name`.
fn flags(text: &str) -> BTreeSet<String> {
    let ends = |next: char| !(next.is_ascii_lowercase() || next.is_ascii_digit() || next == '-');
    text.match_indices("--")
        .filter(|(at, _)| *at == 0 || text[..*at].ends_with([' ', '\n', '\'', '"', '[']))
        .map(|(at, _)| &text[at..])
        .map(|flag| &flag[..flag[2..].find(ends).map_or(flag.len(), |end| end + 2)])
        .filter(|flag| flag.len() > 3 && !flag.ends_with('-'))
        .map(str::to_owned)
        .collect()
}

/// What the prose of a document shows as code.
fn spans(text: &str) -> impl Iterator<Item = &str> {
    let prose = text.split("```").step_by(2);
    prose.flat_map(|prose| prose.split('`').skip(1).step_by(2))
}

#[test]
fn flags_that_documents_name_exist_and_each_setting_is_documented() {
    let known = flags(&help());
    let operating = read("docs/operating.md");
    let mut missing = BTreeSet::new();
    // Other documents show other programs' flags as well.
    for document in [
        "README.md",
        "docs/SPEC.md",
        "docs/operating.md",
        "docs/security.md",
        "docs/scaling.md",
    ] {
        let text = read(document);
        let ours = spans(&text).filter(|span| span.starts_with("--") || span.starts_with("cowrite "));
        let unknown = |flag: &String| !known.contains(flag) && !FOREIGN.contains(&flag.as_str());
        missing.extend(ours.flat_map(flags).filter(unknown));
    }
    // The table of settings has the names of their variables.
    let is_named = |flag: &String| {
        let variable = format!("COWRITE_{}", flag[2..].replace('-', "_").to_uppercase());
        operating.contains(&variable) || operating.contains(flag.as_str())
    };
    let settings = flags(&run(&["serve", "--help"]));
    let mut undocumented: Vec<_> = settings.iter().filter(|flag| !is_named(flag)).collect();
    undocumented.retain(|flag| !["--help", "--version"].contains(&flag.as_str()));

    assert!(known.len() > 30, "{known:?}");
    assert!(
        missing.is_empty(),
        "no command has these flags that the documents name: {missing:?}"
    );
    assert!(
        undocumented.is_empty(),
        "docs/operating.md names none of these: {undocumented:?}"
    );
}

/// Whatever a pattern of `.gitignore` catches is on nobody's machine but its author's.
#[test]
fn scripts_that_are_named_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut named = BTreeSet::new();
    let texts = ["Makefile", "README.md", "CONTRIBUTING.md", "Dockerfile"].map(PathBuf::from);
    for path in texts
        .into_iter()
        .chain(files("docs"))
        .chain(files("scripts"))
        .chain(files(".ci"))
    {
        let text = String::from_utf8_lossy(&fs::read(root.join(path)).expect("a file")).into_owned();
        for (at, found) in text.match_indices("scripts/") {
            let is_ours =
                !text[..at].ends_with(|before: char| before.is_ascii_alphanumeric() || "/._-".contains(before));
            let name: String = text[at + found.len()..]
                .chars()
                .take_while(|next| next.is_ascii_alphanumeric() || "._-".contains(*next))
                .collect();
            if is_ours && !name.is_empty() {
                named.insert(name.trim_end_matches('.').to_owned());
            }
        }
    }
    assert!(named.len() > 5, "{named:?}");
    let missing: Vec<&String> = named
        .iter()
        .filter(|name| !root.join("scripts").join(name).is_file())
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    let ignored = Command::new("git")
        .current_dir(root)
        .args(["check-ignore", "--"])
        .args(named.iter().map(|name| format!("scripts/{name}")))
        .output();
    if let Ok(ignored) = ignored {
        assert_eq!(String::from_utf8_lossy(&ignored.stdout), "", "git leaves them out");
    }
}

/// A patch that does not apply breaks nothing, and `scripts/mutants` ends at it.
#[test]
fn mutants_apply() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let patches = files("tests/mutants");
    assert!(patches.len() > 10);
    for patch in patches {
        let check = Command::new("git")
            .current_dir(root)
            .args(["apply", "--check"])
            .arg(&patch)
            .output()
            .expect("git");
        assert!(
            check.status.success(),
            "{}: {}",
            patch.display(),
            String::from_utf8_lossy(&check.stderr)
        );
    }
}
