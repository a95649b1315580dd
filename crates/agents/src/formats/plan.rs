//! The plan that an agent keeps by calls of a tool. It changes only once the call has succeeded.

use std::collections::HashMap;

use agent_client_protocol_schema::v1::{Plan, PlanEntry, PlanEntryPriority, PlanEntryStatus, SessionUpdate};
use serde_json::Value;

use super::super::Update;
use super::tool::string;

/// The plan of one attempt.
#[derive(Default, Clone)]
pub(super) struct Plans {
    /// Calls without a result, by their ids.
    called: HashMap<String, Change>,
    /// The tasks of Claude's `Task…` tools, in order.
    tasks: Vec<Task>,
}

#[derive(Clone)]
struct Task {
    id: String,
    subject: String,
    status: String,
}

/// What a call does to the plan.
#[derive(Clone)]
enum Change {
    /// `TodoWrite` and its like give the plan as a whole.
    Whole(Vec<PlanEntry>),
    /// `TaskCreate`: the result has the task.
    Create,
    /// `TaskUpdate`, with its input.
    Update(Value),
    /// `TaskList`: the result has them all, those of former turns too.
    List,
}

impl Plans {
    /// A tool was called.
    pub(super) fn called(&mut self, id: &str, name: &str, input: &Value) {
        let change = match name {
            "TodoWrite" | "todo_write" | "write_todos" => match input.get("todos").and_then(Value::as_array) {
                Some(todos) => Change::Whole(todos.iter().map(todo).collect()),
                None => return,
            },
            "TaskCreate" => Change::Create,
            "TaskUpdate" => Change::Update(input.clone()),
            "TaskList" => Change::List,
            _ => return,
        };
        self.called.insert(id.to_owned(), change);
    }

    /// A call has its result; `output` is the result as data. Answers the plan, where the call changed it.
    pub(super) fn ended(&mut self, id: &str, succeeded: bool, output: &Value) -> Option<Update> {
        let change = self.called.remove(id).filter(|_| succeeded)?;
        match change {
            Change::Whole(entries) => return Some(update(entries)),
            Change::Create => self.tasks.push(task(output.get("task")?)?),
            Change::Update(input) => self.update(&input)?,
            Change::List => self.tasks = output.get("tasks")?.as_array()?.iter().filter_map(task).collect(),
        }
        let entries = self.tasks.iter().map(|task| entry(&task.subject, &task.status));
        Some(update(entries.collect()))
    }

    /// None where the task is of a former turn: the whole plan is not known then.
    fn update(&mut self, input: &Value) -> Option<()> {
        let id = string(input, "taskId");
        let at = self.tasks.iter().position(|task| task.id == id)?;
        if string(input, "status") == "deleted" {
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
pub(super) fn update(entries: Vec<PlanEntry>) -> Update {
    SessionUpdate::Plan(Plan::new(entries)).into()
}

/// One step. No agent tells a priority; ACP wants one.
pub(super) fn entry(content: &str, status: &str) -> PlanEntry {
    let status = match status {
        "in_progress" => PlanEntryStatus::InProgress,
        "completed" | "cancelled" => PlanEntryStatus::Completed,
        _ => PlanEntryStatus::Pending,
    };
    PlanEntry::new(content, PlanEntryPriority::Medium, status)
}

/// A step of Claude and Amp (`content`) or of Gemini (`description`).
fn todo(todo: &Value) -> PlanEntry {
    let content = [string(todo, "content"), string(todo, "description")];
    let content = content.into_iter().find(|text| !text.is_empty());
    entry(content.unwrap_or_default(), string(todo, "status"))
}

fn task(task: &Value) -> Option<Task> {
    Some(Task {
        id: task.get("id")?.as_str()?.to_owned(),
        subject: string(task, "subject").to_owned(),
        status: string(task, "status").to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call(plans: &mut Plans, name: &str, input: &Value, output: &Value) -> Option<Value> {
        plans.called("id", name, input);
        let update = plans.ended("id", true, output)?;
        let update = serde_json::to_value(update).unwrap();
        let entries = update["entries"].as_array().unwrap().iter();
        Some(
            entries
                .map(|entry| json!([entry["content"], entry["status"]]))
                .collect(),
        )
    }

    #[test]
    fn a_list_that_is_written_as_a_whole_is_the_plan_whatever_the_words_of_its_vendor() {
        let claude = json!({"todos": [{"content": "a", "status": "in_progress", "activeForm": "b"}, {}]});
        let gemini = json!({"todos": [{"description": "a", "status": "cancelled"}]});
        let mut plans = Plans::default();
        let plan = call(&mut plans, "TodoWrite", &claude, &Value::Null);
        assert_eq!(plan, Some(json!([["a", "in_progress"], ["", "pending"]])));
        let plan = call(&mut plans, "write_todos", &gemini, &Value::Null);
        assert_eq!(plan, Some(json!([["a", "completed"]])));
        assert_eq!(call(&mut plans, "TodoWrite", &json!({"todos": 3}), &Value::Null), None);
    }

    #[test]
    fn a_call_that_failed_changes_nothing() {
        let mut plans = Plans::default();
        plans.called("id", "TodoWrite", &json!({"todos": [{"content": "a"}]}));
        assert_eq!(plans.ended("id", false, &Value::Null), None);
        assert_eq!(plans.ended("id", true, &Value::Null), None);
    }

    #[test]
    fn tasks_are_made_changed_listed_and_deleted_one_by_one() {
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
        // A task of a former turn: what else is planned is not known.
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
