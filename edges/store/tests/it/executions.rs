//! Executions: started once, delivered, ended once.

use crate::seed::{delivery, execution, outcome, plan_token};
use crate::world::{NOW, World, of, platform};
use store::{Counts, ExecState, Execution, ExecutionFilter, NewExecution, Page, StoreError, WriteError};
use terms::{Digest, ExecutionId, TenantId};

contracts! {
    an_execution_reads_back_as_it_was_inserted,
    a_plans_token_is_kept_as_it_went_out_last,
    an_idempotency_key_starts_one_execution,
    executions_are_listed_newest_first_and_filtered,
    an_acceptance_is_counted_once,
    an_outcome_is_recorded_once_and_added_to_the_sums,
    an_outcome_counts_as_the_acceptance_whose_answer_was_lost,
    a_due_delivery_is_claimed_by_one,
}

async fn an_execution_reads_back_as_it_was_inserted(world: World) {
    let tenant = world.tenant("demo").await;
    let new = execution(tenant, "key");
    let inserted = insert(&world, &new).await;
    let mut reader = world.store.read().await.unwrap();
    assert_eq!(reader.executions().load(&of(tenant), new.id).await.unwrap(), inserted);
    assert_eq!(inserted.facts().workflow, new.facts().workflow);
    assert_eq!(reader.executions().input(&of(tenant), new.id).await.unwrap().as_slice(), new.input);
    let absent = id!(ExecutionId);
    assert_eq!(reader.executions().find(&of(tenant), absent).await, Ok(None));
    let input = reader.executions().input(&of(tenant), absent).await;
    assert_eq!(input.err(), Some(StoreError::NotFound("execution input")));
}

async fn a_plans_token_is_kept_as_it_went_out_last(world: World) {
    let (tenant, other) = (world.tenant("demo").await, world.tenant("other").await);
    let first = insert(&world, &execution(tenant, "key")).await;
    let (id, absent) = (first.id, Execution { id: id!(ExecutionId), ..first.clone() });
    let kept = async |permit| world.store.read().await.unwrap().executions().plan_token(&permit, id).await;
    assert_eq!(kept(of(tenant)).await.unwrap(), plan_token(1).compact);
    assert_eq!(first.plan_key, Some(plan_token(1).key));

    write!(world, |tx| tx.executions().issue_token(&of(tenant), &first, &plan_token(2)).await).unwrap();
    assert_eq!(kept(of(tenant)).await.unwrap(), plan_token(2).compact);
    let now = world.store.read().await.unwrap().executions().load(&of(tenant), id).await.unwrap();
    assert_eq!(now.plan_key, Some(plan_token(2).key));

    assert!(kept(of(other)).await.is_err());
    let refused = write!(world, |tx| tx.executions().issue_token(&of(tenant), &absent, &plan_token(3)).await);
    assert_eq!(refused, Err(WriteError::Work(StoreError::NotFound("execution"))));
}

async fn an_idempotency_key_starts_one_execution(world: World) {
    let (tenant, other) = (world.tenant("demo").await, world.tenant("other").await);
    let first = insert(&world, &execution(tenant, "key")).await;
    let second = execution(tenant, "key");
    let refused = write!(world, |tx| tx.executions().insert(&of(tenant), &second, &delivery()).await);
    assert_eq!(refused, Err(WriteError::Work(StoreError::Conflict("row"))));
    insert(&world, &execution(other, "key")).await;
    insert(&world, &NewExecution { idempotency: None, ..execution(tenant, "") }).await;
    insert(&world, &NewExecution { idempotency: None, ..execution(tenant, "") }).await;

    let mut reader = world.store.read().await.unwrap();
    let found = reader.executions().find_by_idempotency(&of(tenant), tenant, "key").await.unwrap();
    assert_eq!(found, Some((first, Digest::sha256(b"key"))));
    assert_eq!(reader.executions().find_by_idempotency(&of(tenant), tenant, "Key").await, Ok(None));
}

async fn executions_are_listed_newest_first_and_filtered(world: World) {
    let (tenant, other) = (world.tenant("demo").await, world.tenant("other").await);
    let mut made = Vec::new();
    for n in 0..5 {
        let mut new = execution(tenant, &n.to_string());
        new.workflow.name = if n % 2 == 0 { "even" } else { "odd" }.parse().unwrap();
        made.push(insert(&world, &new).await);
    }
    insert(&world, &execution(other, "0")).await;
    made.reverse();
    let ended = made[0].clone();
    let how = outcome(&ended, 1);
    write!(world, |tx| tx.executions().record_outcome(&of(tenant), &ended, ExecState::Completed, &how).await)
        .unwrap();

    let all = ExecutionFilter::default();
    let (first, next) = list(&world, tenant, &all, Page::first(3)).await;
    let (rest, end) = list(&world, tenant, &all, Page { after: next, limit: 3 }).await;
    assert_eq!([first, rest].concat(), made.iter().map(|e| e.id).collect::<Vec<_>>());
    assert_eq!(end, None);
    let odd = ExecutionFilter { workflow: Some("odd".parse().unwrap()), state: None };
    assert_eq!(list(&world, tenant, &odd, Page::first(9)).await.0, [made[1].id, made[3].id]);
    let even_and_sent =
        ExecutionFilter { workflow: Some("even".parse().unwrap()), state: Some(ExecState::Sent) };
    assert_eq!(list(&world, tenant, &even_and_sent, Page::first(9)).await.0, [made[2].id, made[4].id]);
    let completed = ExecutionFilter { workflow: None, state: Some(ExecState::Completed) };
    assert_eq!(list(&world, tenant, &completed, Page::first(9)).await.0, [made[0].id]);
}

async fn an_acceptance_is_counted_once(world: World) {
    let tenant = world.tenant("demo").await;
    let mut current = insert(&world, &execution(tenant, "key")).await;
    assert_eq!(counts(&world, tenant).await, Counts { in_flight: 1, ..Counts::default() });
    current.state = ExecState::Accepted;
    current.accepted_at = Some(NOW.plus_ms(3));
    current.due_at = None;
    current.attempts = 2;
    current.cancel_requested = true;
    current.delivery = "{\"next\":1}".to_owned();
    for _ in 0..2 {
        let next = current.clone();
        write!(world, |tx| tx.executions().update_delivery(&of(tenant), &next).await).unwrap();
    }
    let saved = world.store.read().await.unwrap().executions().load(&of(tenant), current.id).await;
    assert_eq!(saved.unwrap(), current);
    assert_eq!(counts(&world, tenant).await, Counts { accepted: 1, in_flight: 1, ..Counts::default() });
    let absent = Execution { id: id!(ExecutionId), ..current };
    let refused = write!(world, |tx| tx.executions().update_delivery(&of(tenant), &absent).await);
    assert_eq!(refused, Err(WriteError::Work(StoreError::NotFound("execution"))));
}

async fn an_outcome_is_recorded_once_and_added_to_the_sums(world: World) {
    let tenant = world.tenant("demo").await;
    let mut sent = insert(&world, &execution(tenant, "key")).await;
    sent.accepted_at = Some(NOW);
    sent.state = ExecState::Accepted;
    let accepted = sent.clone();
    write!(world, |tx| tx.executions().update_delivery(&of(tenant), &accepted).await).unwrap();
    for (steps, new) in [(5, true), (5, false), (6, false)] {
        let (current, how) = (sent.clone(), outcome(&sent, steps));
        let recorded = write!(world, |tx| tx
            .executions()
            .record_outcome(&of(tenant), &current, ExecState::Completed, &how)
            .await);
        assert_eq!(recorded, Ok(new));
    }
    let ended = world.store.read().await.unwrap().executions().load(&of(tenant), sent.id).await.unwrap();
    assert_eq!(
        (ended.state, ended.outcome, ended.due_at),
        (ExecState::Completed, Some(outcome(&sent, 5)), None)
    );
    let expected = Counts {
        accepted: 1,
        outcomes: 1,
        steps: 5,
        http_calls: 2,
        wall_time_ms: 7,
        output_bytes: 11,
        in_flight: 0,
    };
    assert_eq!(counts(&world, tenant).await, expected);
}

async fn an_outcome_counts_as_the_acceptance_whose_answer_was_lost(world: World) {
    let tenant = world.tenant("demo").await;
    let sent = insert(&world, &execution(tenant, "key")).await;
    let how = outcome(&sent, 1);
    let current = sent.clone();
    write!(world, |tx| tx
        .executions()
        .record_outcome(&of(tenant), &current, ExecState::Completed, &how)
        .await)
    .unwrap();
    let ended = world.store.read().await.unwrap().executions().load(&of(tenant), sent.id).await.unwrap();
    assert_eq!(ended.accepted_at, Some(NOW));
    assert_eq!(counts(&world, tenant).await.accepted, 1);
}

async fn a_due_delivery_is_claimed_by_one(world: World) {
    let tenant = world.tenant("demo").await;
    let mut made = Vec::new();
    for n in 0..3 {
        made.push(insert(&world, &execution(tenant, &n.to_string())).await.id);
    }
    let (now, lease) = (NOW.plus_ms(1_000), NOW.plus_ms(5_000));
    let due = |at| {
        let store = world.store.clone();
        async move { store.read().await.unwrap().executions().any_due(&platform(), at).await.unwrap() }
    };
    assert!(!due(NOW.plus_ms(999)).await);
    assert!(due(now).await);
    let claim = |limit| {
        world.store.write(move |tx| {
            Box::pin(async move { tx.executions().claim_due(&platform(), now, lease, limit).await })
        })
    };
    let (first, second) = tokio::join!(claim(2), claim(2));
    let claimed: Vec<_> = [first.unwrap(), second.unwrap()].concat();
    assert!(claimed.iter().all(|execution| execution.due_at == Some(lease)));
    let mut ids: Vec<_> = claimed.iter().map(|execution| execution.id).collect();
    ids.sort();
    assert_eq!(ids, made, "each by one of the two");
    assert!(!due(now).await);
    assert!(due(lease).await, "a claim that came to nothing comes up again");
}

async fn insert(world: &World, new: &NewExecution) -> Execution {
    let new = new.clone();
    write!(world, |tx| tx.executions().insert(&of(new.tenant), &new, &delivery()).await).unwrap()
}

async fn list(
    world: &World,
    tenant: TenantId,
    filter: &ExecutionFilter,
    page: Page,
) -> (Vec<ExecutionId>, Option<String>) {
    let mut reader = world.store.read().await.unwrap();
    let (rows, next) = reader.executions().list(&of(tenant), tenant, filter, &page).await.unwrap();
    (rows.iter().map(|row| row.id).collect(), next)
}

async fn counts(world: &World, tenant: TenantId) -> Counts {
    world.store.read().await.unwrap().executions().counts(&of(tenant), tenant).await.unwrap()
}
