//! The public items in what rustdoc writes as JSON, and the examples in their documentation.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;

/// A public item, with the examples in its documentation.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) file: String,
    pub(crate) line: u64,
    pub(crate) examples: Vec<Example>,
    /// Whether it must have an example. Methods need none.
    pub(crate) needs_example: bool,
}

/// An example that the compiler checks.
#[derive(Debug)]
pub(crate) struct Example {
    pub(crate) is_run: bool,
    code: String,
}

impl Example {
    /// Whether it is a guest, which runs in a VM.
    pub(crate) fn is_guest(&self) -> bool {
        self.code.contains("dormir_guest::entry!(")
    }
}

/// The examples in a piece of documentation.
pub(crate) fn examples(docs: &str) -> Vec<Example> {
    let mut examples = Vec::new();
    let mut lines = docs.lines();
    while let Some(line) = lines.next() {
        let Some(tags) = line.trim_start().strip_prefix("```") else {
            continue;
        };
        let code = lines
            .by_ref()
            .take_while(|line| !line.trim_start().starts_with("```"))
            .fold(String::new(), |code, line| code + line + "\n");
        let is = |tag| tags.split(',').any(|is| is.trim() == tag);
        let is_compiled = tags
            .split(',')
            .all(|tag| matches!(tag.trim(), "" | "rust" | "no_run" | "should_panic"));
        if is_compiled {
            let is_run = !is("no_run");
            examples.push(Example { is_run, code });
        }
    }
    examples
}

/// The public functions, methods, macros, types and traits of a crate, by path.
pub(crate) fn public(json: &Value) -> BTreeMap<String, Item> {
    let mut walk = Walk {
        index: &json["index"],
        seen: HashSet::new(),
        items: BTreeMap::new(),
    };
    walk.visit(&json["root"], "", None);
    walk.items
}

struct Walk<'a> {
    index: &'a Value,
    /// Some items can be reached by two paths.
    seen: HashSet<u64>,
    items: BTreeMap<String, Item>,
}

impl<'a> Walk<'a> {
    /// Visits an item of the module or type `above`, and the items inside it. A `use` may give it
    /// another name.
    fn visit(&mut self, id: &'a Value, above: &str, alias: Option<&str>) {
        let item = self.entry(id);
        let (Some(number), Some((kind, inner))) = (id.as_u64(), inner(item)) else {
            // An item of another crate.
            return;
        };
        if kind == "use" {
            if inner["is_glob"] == true {
                let module = self.entry(&inner["id"]);
                self.visit_all(&module["inner"]["module"]["items"], above);
            } else {
                self.visit(&inner["id"], above, inner["name"].as_str());
            }
            return;
        }
        if !self.seen.insert(number) {
            return;
        }
        let name = alias.or(item["name"].as_str()).unwrap_or_default();
        let path = match above {
            "" => name.to_owned(),
            above => format!("{above}::{name}"),
        };
        match kind {
            "module" => self.visit_all(&inner["items"], &path),
            "struct" | "enum" | "union" => {
                self.add(&path, item, true);
                for id in list(&inner["impls"]) {
                    let block = &self.entry(id)["inner"]["impl"];
                    if block["trait"].is_null() {
                        self.add_methods(&block["items"], &path);
                    }
                }
            }
            "trait" => {
                self.add(&path, item, true);
                self.add_methods(&inner["items"], &path);
            }
            "function" | "macro" | "proc_macro" | "type_alias" => self.add(&path, item, true),
            // Constants and statics.
            _ => {}
        }
    }

    fn add_methods(&mut self, ids: &'a Value, path: &str) {
        for id in list(ids) {
            let method = self.entry(id);
            if method["inner"].get("function").is_some() {
                let name = method["name"].as_str().unwrap_or_default();
                self.add(&format!("{path}::{name}"), method, false);
            }
        }
    }

    fn visit_all(&mut self, ids: &'a Value, path: &str) {
        for id in list(ids) {
            self.visit(id, path, None);
        }
    }

    /// The index's entry for an item; null for an item of another crate.
    fn entry(&self, id: &Value) -> &'a Value {
        id.as_u64()
            .and_then(|id| self.index.get(id.to_string()))
            .unwrap_or(&Value::Null)
    }

    fn add(&mut self, path: &str, item: &Value, needs_example: bool) {
        let span = &item["span"];
        let item = Item {
            file: span["filename"].as_str().unwrap_or_default().to_owned(),
            line: span["begin"][0].as_u64().unwrap_or_default(),
            examples: examples(docs(item)),
            needs_example,
        };
        self.items.insert(path.to_owned(), item);
    }
}

/// An item's kind, and the fields of that kind.
fn inner(item: &Value) -> Option<(&str, &Value)> {
    let (kind, inner) = item["inner"].as_object()?.iter().next()?;
    Some((kind, inner))
}

fn docs(item: &Value) -> &str {
    item["docs"].as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
