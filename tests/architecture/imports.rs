//! No file may be in a circle of imports: files that need each other are one file, or lack a third one.
//!
//! A file depends on another one when it names something that is defined there, by `use` or by a path. What a module
//! only passes on (`pub use`) counts as what it is: the edge leads to the file that defines it. `mod` is no edge, as a
//! parent says only that the child exists. Unit tests are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::source::{Crate, crates};

/// A path of names from the crate's root.
type Names = Vec<String>;

/// One module that is a file.
#[derive(Default)]
struct Module {
    /// Where it is, for messages.
    file: String,
    /// Names that it passes on, and from where.
    passes_on: Vec<(String, Names)>,
    /// Modules whose names it passes on, all of them.
    passes_on_all: Vec<Names>,
    /// Names that it defines.
    defines: BTreeSet<String>,
    /// Paths that it names, as they are written.
    names: Vec<Names>,
}

fn module_of(path: &Path) -> Names {
    let mut names: Names = path
        .with_extension("")
        .components()
        .map(|part| part.as_os_str().to_str().unwrap().to_owned())
        .collect();
    if names
        .last()
        .is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str()))
    {
        names.pop();
    }
    names
}

/// Words and signs, without spaces.
fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
        let length = if is_word(first) {
            rest.find(|letter| !is_word(letter)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        tokens.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    tokens
}

/// All paths of a `use`, each with the name that it gives; `*` for all. Answers where it ends, too.
fn use_tree(tokens: &[&str], mut at: usize, prefix: &Names, found: &mut Vec<(Names, String)>) -> usize {
    let mut path = prefix.clone();
    while at < tokens.len() {
        match tokens[at] {
            "::" => at += 1,
            "{" => {
                at += 1;
                while at < tokens.len() && tokens[at] != "}" {
                    at = use_tree(tokens, at, &path, found);
                    at += usize::from(tokens.get(at) == Some(&","));
                }
                return at + 1;
            }
            "," | "}" | ";" => break,
            "as" => {
                found.push((path, tokens[at + 1].to_owned()));
                return at + 2;
            }
            word => {
                path.push(word.to_owned());
                at += 1;
            }
        }
    }
    let mut last = path.last().cloned().unwrap_or_default();
    if last == "self" {
        path.pop();
        last = path.last().cloned().unwrap_or_default();
    }
    found.push((path, last));
    at
}

fn read(code: &str, file: String) -> Module {
    const DEFINE: [&str; 9] = [
        "struct",
        "enum",
        "union",
        "fn",
        "trait",
        "const",
        "static",
        "type",
        "macro_rules",
    ];
    let mut module = Module {
        file,
        ..Module::default()
    };
    let tokens = tokens(code);
    let mut at = 0;
    while at < tokens.len() {
        let before = at.checked_sub(1).map_or("", |before| tokens[before]);
        match tokens[at] {
            // Who may see something: the path names a parent and needs nothing of it.
            "pub" if tokens.get(at + 1..at + 3) == Some(&["(", "in"]) => {
                at += tokens[at..].iter().position(|token| *token == ")").unwrap();
                continue;
            }
            // `use<'a>` in a type is something else.
            "use" if tokens.get(at + 1) != Some(&"<") => {
                let passes_on = before == "pub" || before == ")";
                let mut found = Vec::new();
                at = use_tree(&tokens, at + 1, &Vec::new(), &mut found);
                for (path, name) in found {
                    if !passes_on {
                        module.names.push(path);
                    } else if name == "*" {
                        module.passes_on_all.push(path[..path.len() - 1].to_vec());
                    } else {
                        module.passes_on.push((name, path));
                    }
                }
                continue;
            }
            word if DEFINE.contains(&word) => {
                let name = tokens[at + 1..]
                    .iter()
                    .find(|token| !["!", "mut", "fn"].contains(token));
                module.defines.extend(name.map(|name| (*name).to_owned()));
            }
            word if tokens.get(at + 1) == Some(&"::") && before != "::" => {
                let mut path = vec![word.to_owned()];
                while tokens.get(at + 1) == Some(&"::")
                    && tokens
                        .get(at + 2)
                        .is_some_and(|next| next.starts_with(char::is_alphabetic))
                {
                    path.push(tokens[at + 2].to_owned());
                    at += 2;
                }
                module.names.push(path);
            }
            _ => {}
        }
        at += 1;
    }
    module
}

/// A path as it is written in a module, from the crate's root; `None` where it leads elsewhere.
fn absolute(modules: &BTreeMap<Names, Module>, here: &Names, path: &[String]) -> Option<Names> {
    let mut base = here.clone();
    let mut rest = path;
    match rest.first().map(String::as_str) {
        Some("crate") => {
            base.clear();
            rest = &rest[1..];
        }
        Some("self") => rest = &rest[1..],
        Some("super") => {
            while rest.first().is_some_and(|word| word == "super") {
                base.pop()?;
                rest = &rest[1..];
            }
        }
        // A child, or something from elsewhere.
        Some(word) => {
            let mut child = here.clone();
            child.push(word.to_owned());
            modules.get(&child)?;
        }
        None => return None,
    }
    base.extend(rest.iter().cloned());
    Some(base)
}

/// The module that defines what a path from the root names.
fn defined_in(modules: &BTreeMap<Names, Module>, path: &Names, depth: usize) -> Option<Names> {
    let mut here = Names::new();
    for (at, name) in path.iter().enumerate() {
        let mut child = here.clone();
        child.push(name.clone());
        if modules.contains_key(&child) {
            here = child;
            continue;
        }
        let module = &modules[&here];
        if depth == 0 {
            return Some(here);
        }
        let mut passed = module.passes_on.iter().filter(|(known, _)| known == name);
        if let Some((_, from)) = passed.next() {
            // From another crate: whoever wants it from here could have it from there.
            let mut target = absolute(modules, &here, from)?;
            target.extend(path[at + 1..].iter().cloned());
            return defined_in(modules, &target, depth - 1);
        }
        if !module.defines.contains(name) {
            let targets = module.passes_on_all.iter();
            let mut targets = targets.filter_map(|from| absolute(modules, &here, from));
            let target = targets.find(|target| modules.get(target).is_some_and(|one| one.defines.contains(name)));
            if target.is_some() {
                return target;
            }
        }
        return Some(here);
    }
    Some(here)
}

/// Which file depends on which, by the names of their modules.
fn edges(one: &Crate) -> (BTreeMap<Names, Module>, BTreeMap<Names, BTreeSet<Names>>) {
    let files = one.files.iter().filter(|(_, file)| !file.shipped.is_empty());
    // What `main.rs` names it names from outside.
    let files = files.filter(|(path, _)| **path != *"main.rs");
    let modules: BTreeMap<Names, Module> = files
        .map(|(path, file)| (module_of(path), read(&file.shipped, file.path.display().to_string())))
        .collect();
    let mut edges = BTreeMap::new();
    for (here, module) in &modules {
        let named = module.names.iter();
        let named = named.filter_map(|path| absolute(&modules, here, path));
        let targets = named.filter_map(|path| defined_in(&modules, &path, 8));
        edges.insert(here.clone(), targets.filter(|target| target != here).collect());
    }
    (modules, edges)
}

/// The shortest way from a module back to itself.
fn circle(edges: &BTreeMap<Names, BTreeSet<Names>>, start: &Names) -> Option<Vec<Names>> {
    let mut ways = vec![vec![start.clone()]];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for next in edges.get(way.last()?).into_iter().flatten() {
                if next == start {
                    return Some(way);
                }
                if seen.insert(next.clone()) {
                    longer.push([way.as_slice(), std::slice::from_ref(next)].concat());
                }
            }
        }
        ways = longer;
    }
    None
}

#[test]
fn no_file_is_in_an_import_circle() {
    let mut wrong = Vec::new();
    for one in crates() {
        let (modules, edges) = edges(&one);
        let mut told = BTreeSet::new();
        for start in modules.keys() {
            let Some(way) = circle(&edges, start).filter(|_| !told.contains(start)) else {
                continue;
            };
            let files: Vec<_> = way.iter().map(|name| modules[name].file.as_str()).collect();
            wrong.push(format!("{} -> {}", files.join(" -> "), files[0]));
            told.extend(way);
        }
    }
    assert!(
        wrong.is_empty(),
        "files that import each other in a circle:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn paths_lead_to_the_file_that_defines() {
    let texts = [
        (
            "lib.rs",
            "mod a; mod b; pub use a::{First, other as renamed}; pub use b::*;",
        ),
        (
            "a/mod.rs",
            "mod c; pub(crate) use c::Third; pub struct First; use super::b::Second;",
        ),
        (
            "a/c.rs",
            "use super::First; pub struct Third; fn f() -> crate::Second {}",
        ),
        (
            "b.rs",
            "pub struct Second; fn g(x: crate::a::Third, y: crate::renamed) {}",
        ),
    ];
    let modules: BTreeMap<Names, Module> = texts
        .iter()
        .map(|(path, text)| (module_of(Path::new(path)), read(text, (*path).to_owned())))
        .collect();
    let found = |here: &str, path: &str| {
        let names = |text: &str| text.split("::").map(str::to_owned).collect::<Names>();
        let path = absolute(&modules, &module_of(Path::new(here)), &names(path)).unwrap();
        modules[&defined_in(&modules, &path, 8).unwrap()].file.clone()
    };
    assert_eq!(found("b.rs", "crate::a::Third"), "a/c.rs");
    assert_eq!(found("b.rs", "crate::renamed"), "a/mod.rs");
    assert_eq!(found("a/c.rs", "crate::Second"), "b.rs");
    assert_eq!(found("a/c.rs", "super::First"), "a/mod.rs");
    assert_eq!(modules[&module_of(Path::new("a/c.rs"))].names.len(), 2);
}
