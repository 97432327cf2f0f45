//! A spec survives its way: through canonical JSON, on which its digest rests, and through the
//! binary form of the replicated log.

use proptest::{collection, option, prelude::*};

use super::*;
use crate::Usd;

fn name<T>() -> impl Strategy<Value = T>
where
    T: std::str::FromStr + std::fmt::Debug,
    T::Err: std::fmt::Debug,
{
    "[a-z0-9][a-z0-9._-]{0,62}".prop_map(|text| text.parse().unwrap())
}

fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    collection::btree_map("[A-Z_][A-Z0-9_]{3,8}Q", any::<String>(), 0..4)
        .prop_map(|map| map.into_iter().map(|(k, v)| (k, v.replace('\0', ""))).collect())
}

fn param() -> impl Strategy<Value = Param> {
    prop_oneof![
        any::<bool>().prop_map(Param::Bool),
        any::<i64>().prop_map(Param::Int),
        any::<f64>()
            .prop_filter("finite", |number| number.is_finite())
            .prop_map(|number| Param::Decimal(format!("{number:?}"))),
        any::<String>().prop_map(Param::Text),
    ]
}

prop_compose! {
    fn resources()(
        gpus in 1..=MAX_GPUS,
        elastic in any::<bool>(),
        device in prop_oneof![Just(DeviceKind::Gpu), Just(DeviceKind::Cpu)],
        gpu_type in collection::vec("[a-z][a-z0-9]{0,8}", 0..3),
        speed in collection::btree_map("[a-z][a-z0-9]{0,8}", 1..=1_000_000u64, 0..3),
        memory in option::of(any::<u64>().prop_map(Bytes)),
        fraction in option::of(1u16..=1000),
        host in (option::of(1u32..), option::of((1u64..).prop_map(Bytes))),
        beyond in (option::of((1u64..).prop_map(Bytes)), option::of((1u64..).prop_map(BitRate))),
        max_ranks_per_node in option::of(1u32..),
        node_labels in labels(),
    ) -> Resources {
        let gpu = device == DeviceKind::Gpu;
        let speed = speed.into_iter().map(|(kind, n)| (kind, Speed::from_milli(n).unwrap()));
        let speed = speed.collect();
        Resources {
            gpus,
            gpu_fraction: fraction.filter(|_| gpu && !elastic).and_then(Fraction::from_milli),
            min_gpus: elastic.then_some(gpus.div_ceil(2)),
            device,
            gpu_type: if gpu { gpu_type } else { Vec::new() },
            speed: Speeds(if gpu { speed } else { BTreeMap::new() }),
            min_gpu_memory: memory.filter(|_| gpu),
            cpus_per_rank: host.0,
            memory_per_rank: host.1,
            disk_per_rank: beyond.0,
            network_per_rank: beyond.1,
            max_ranks_per_node,
            compact: elastic,
            node_labels,
        }
    }
}

prop_compose! {
    fn run()(
        command in option::of(collection::vec("[a-z -~]{1,9}x", 1..4)),
        params in collection::btree_map(any::<String>(), param(), 0..4),
        workdir in option::of("[a-z./]{1,9}"),
        env in labels(),
        grace in option::of(any::<u64>().prop_map(Millis)),
    ) -> Run {
        Run {
            recipe: command.is_none().then(|| "gpt".into()),
            params: if command.is_none() { params } else { BTreeMap::new() },
            command: command.unwrap_or_default(),
            workdir,
            env,
            stop_grace: grace,
        }
    }
}

prop_compose! {
    fn limits()(
        time in option::of((1..u64::MAX).prop_map(Millis)),
        cost in option::of((0..1_000_000_000_000_000u64).prop_map(|usd| CostLimit(Usd(usd)))),
        max_restarts in any::<u32>(),
    ) -> Limits {
        Limits { time, max_cost_usd: cost, max_restarts }
    }
}

prop_compose! {
    fn register()(
        model in name(),
        metric in option::of(any::<String>()),
        goal in prop_oneof![Just(Goal::Minimize), Just(Goal::Maximize)],
    ) -> Register {
        Register { model, metric, goal }
    }
}

prop_compose! {
    fn job_spec()(
        name in name(),
        project in name(),
        priority in any::<i32>(),
        resources in resources(),
        run in run(),
        every in 1000u64..,
        keep in 1u32..,
        limits in limits(),
        finish_by in option::of(Just("2026-12-24T08:00:00+01:00".to_owned())),
        register in option::of(register()),
    ) -> JobSpec {
        JobSpec {
            name,
            project,
            priority,
            resources,
            run,
            checkpoint: Checkpointing { every: Millis(every), keep, on_request: keep % 2 == 0 },
            limits,
            schedule: Schedule { finish_by, est_duration: Some(Millis(every)) },
            register,
        }
    }
}

proptest! {
    #[test]
    fn canonical_json_reads_back(spec in job_spec()) {
        let json = spec.canonical_json();
        let read = JobSpec::from_canonical(json.as_bytes()).unwrap();
        prop_assert_eq!(&read, &spec);
        prop_assert_eq!(read.canonical_json(), json);
        prop_assert_eq!(read.digest(), spec.digest());
    }

    #[test]
    fn canonical_json_is_a_spec_file(spec in job_spec()) {
        let read = JobSpec::read("job.json", &spec.canonical_json(), Format::Json);
        prop_assert_eq!(read.unwrap(), spec);
    }

    #[test]
    fn the_binary_form_reads_back(spec in job_spec()) {
        let bytes = rmp_serde::to_vec_named(&spec).unwrap();
        prop_assert_eq!(rmp_serde::from_slice::<JobSpec>(&bytes).unwrap(), spec);
    }
}
