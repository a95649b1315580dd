//! The plan that an agent keeps by tool calls. It changes only when the call has succeeded.

use std::collections::HashMap;

use agent_client_protocol_schema::v1::{Plan, PlanEntry, PlanEntryPriority, PlanEntryStatus, SessionUpdate};
use serde_json::Value;

use super::tools::tool::str_at;
use super::update::Update;

/// The plan of one attempt.
#[derive(Default, Clone)]
pub(crate) struct Plans {
    /// Calls without a result, by their ids.
    open: HashMap<String, Change>,
    /// The tasks of Claude's `Task…` tools, in order.
    tasks: Vec<Task>,
}

#[derive(Clone)]
struct Task {
    id: String,
    subject: String,
    status: String,
}

/// What a call changes in the plan.
#[derive(Clone)]
enum Change {
    /// `TodoWrite` and its equivalents contain the complete plan.
    Replace(Vec<PlanEntry>),
    /// `TaskCreate`: the result has the task.
    Create,
    /// `TaskUpdate`, with its input.
    Update(Value),
    /// `TaskList`: the result has all tasks, including those of former turns.
    List,
}

impl Plans {
    /// Takes a tool call.
    pub(crate) fn start_call(&mut self, id: &str, name: &str, input: &Value) {
        let change = match name {
            name if is_plan(name) => match entries(input) {
                Some(entries) => Change::Replace(entries),
                None => return,
            },
            "TaskCreate" => Change::Create,
            "TaskUpdate" => Change::Update(input.clone()),
            "TaskList" => Change::List,
            _ => return,
        };
        self.open.insert(id.to_owned(), change);
    }

    /// Takes the result of a call, as data. Returns the plan if the call changed it.
    pub(crate) fn finish_call(&mut self, id: &str, succeeded: bool, output: &Value) -> Option<Update> {
        let change = self.open.remove(id).filter(|_| succeeded)?;
        match change {
            Change::Replace(entries) => return Some(update(entries)),
            Change::Create => self.tasks.push(task(output.get("task")?)?),
            Change::Update(input) => self.update(&input)?,
            Change::List => self.tasks = output.get("tasks")?.as_array()?.iter().filter_map(task).collect(),
        }
        let entries = self.tasks.iter().map(|task| entry(&task.subject, &task.status));
        Some(update(entries.collect()))
    }

    /// None if the task is of a former turn: the complete plan is not known then.
    fn update(&mut self, input: &Value) -> Option<()> {
        let id = str_at(input, "taskId");
        let at = self.tasks.iter().position(|task| task.id == id)?;
        if str_at(input, "status") == "deleted" {
            self.tasks.remove(at);
            return Some(());
        }
        let task = self.tasks.get_mut(at)?;
        for (key, field) in [("subject", &mut task.subject), ("status", &mut task.status)] {
            if let Some(new) = input.get(key).and_then(Value::as_str) {
                *field = new.to_owned();
            }
        }
        Some(())
    }
}

/// A plan as an update.
pub(crate) fn update(entries: Vec<PlanEntry>) -> Update {
    SessionUpdate::Plan(Plan::new(entries)).into()
}

/// One step. ACP requires a priority, which no agent reports.
pub(crate) fn entry(content: &str, status: &str) -> PlanEntry {
    let status = match status {
        "in_progress" | "inProgress" => PlanEntryStatus::InProgress,
        "completed" | "cancelled" => PlanEntryStatus::Completed,
        _ => PlanEntryStatus::Pending,
    };
    PlanEntry::new(content, PlanEntryPriority::Medium, status)
}

/// Whether a tool of this name has the complete plan as its input: `TodoWrite`, `todowrite`, `write_todos` and so on.
fn is_plan(name: &str) -> bool {
    const NAMES: [&str; 7] = [
        "todowrite",
        "writetodos",
        "updatetodo",
        "updatetodos",
        "updatetodolist",
        "managetodolist",
        "updateplan",
    ];
    let name: String = name.chars().filter(|c| *c != '_').collect();
    NAMES.contains(&name.to_lowercase().as_str())
}

/// The steps of a plan: a list, or a text with a step on each line.
fn entries(input: &Value) -> Option<Vec<PlanEntry>> {
    let keys = ["todos", "plan", "todoList", "items"];
    match keys.iter().find_map(|key| input.get(*key))? {
        Value::Array(todos) => Some(todos.iter().map(todo).collect()),
        Value::String(text) => Some(text.lines().filter_map(line).collect()),
        _ => None,
    }
}

/// A step of claude (`content`), gemini (`description`), codex (`step`) or others.
fn todo(todo: &Value) -> PlanEntry {
    let content = ["content", "description", "step", "text", "title"].map(|key| str_at(todo, key));
    let content = content.into_iter().find(|text| !text.is_empty());
    entry(content.unwrap_or_default(), str_at(todo, "status"))
}

/// `- [x] done`, or `1. [in_progress] at work`.
fn line(line: &str) -> Option<PlanEntry> {
    let (_, rest) = line.split_once('[')?;
    let (mark, content) = rest.split_once(']')?;
    let status = match mark.trim() {
        "x" | "X" => "completed",
        "~" | "-" | ">" => "in_progress",
        status => status,
    };
    Some(entry(content.trim(), status))
}

fn task(task: &Value) -> Option<Task> {
    Some(Task {
        id: task.get("id")?.as_str()?.to_owned(),
        subject: str_at(task, "subject").to_owned(),
        status: str_at(task, "status").to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call(plans: &mut Plans, name: &str, input: &Value, output: &Value) -> Option<Value> {
        plans.start_call("id", name, input);
        let update = plans.finish_call("id", true, output)?;
        let update = serde_json::to_value(update).unwrap();
        let entries = update["entries"].as_array().unwrap().iter();
        Some(
            entries
                .map(|entry| json!([entry["content"], entry["status"]]))
                .collect(),
        )
    }

    #[test]
    fn a_complete_list_is_the_plan_for_each_vendor() {
        let claude = json!({"todos": [{"content": "a", "status": "in_progress", "activeForm": "b"}, {}]});
        let gemini = json!({"todos": [{"description": "a", "status": "cancelled"}]});
        let mut plans = Plans::default();
        let plan = call(&mut plans, "TodoWrite", &claude, &Value::Null);
        assert_eq!(plan, Some(json!([["a", "in_progress"], ["", "pending"]])));
        let plan = call(&mut plans, "write_todos", &gemini, &Value::Null);
        assert_eq!(plan, Some(json!([["a", "completed"]])));
        let opencode = json!({"todos": [{"content": "a", "status": "completed", "priority": "high", "id": "1"}]});
        let plan = call(&mut plans, "todowrite", &opencode, &Value::Null);
        assert_eq!(plan, Some(json!([["a", "completed"]])));
        let lines = json!({"todos": "Plan:\n- [x] a\n- [ ] b\n3. [in_progress] c"});
        let plan = call(&mut plans, "update_todo", &lines, &Value::Null);
        assert_eq!(
            plan,
            Some(json!([["a", "completed"], ["b", "pending"], ["c", "in_progress"]]))
        );
        let codex = json!({"plan": [{"step": "a", "status": "in_progress"}]});
        let plan = call(&mut plans, "update_plan", &codex, &Value::Null);
        assert_eq!(plan, Some(json!([["a", "in_progress"]])));
        assert_eq!(call(&mut plans, "TodoWrite", &json!({"todos": 3}), &Value::Null), None);
    }

    #[test]
    fn a_failed_call_changes_nothing() {
        let mut plans = Plans::default();
        plans.start_call("id", "TodoWrite", &json!({"todos": [{"content": "a"}]}));
        assert_eq!(plans.finish_call("id", false, &Value::Null), None);
        assert_eq!(plans.finish_call("id", true, &Value::Null), None);
    }

    #[test]
    fn tasks_are_created_changed_listed_and_deleted() {
        let mut plans = Plans::default();
        let made = json!({"task": {"id": "1", "subject": "a"}});
        assert_eq!(
            call(&mut plans, "TaskCreate", &json!({}), &made),
            Some(json!([["a", "pending"]]))
        );
        let done = json!({"taskId": "1", "status": "completed", "subject": "b"});
        assert_eq!(
            call(&mut plans, "TaskUpdate", &done, &Value::Null),
            Some(json!([["b", "completed"]]))
        );
        // A task of a former turn: the rest of the plan is not known.
        let unknown = json!({"taskId": "7", "status": "completed"});
        assert_eq!(call(&mut plans, "TaskUpdate", &unknown, &Value::Null), None);
        let all = json!({"tasks": [{"id": "7", "subject": "c", "status": "in_progress"}]});
        assert_eq!(
            call(&mut plans, "TaskList", &json!({}), &all),
            Some(json!([["c", "in_progress"]]))
        );
        let gone = json!({"taskId": "7", "status": "deleted"});
        assert_eq!(call(&mut plans, "TaskUpdate", &gone, &Value::Null), Some(json!([])));
    }
}
