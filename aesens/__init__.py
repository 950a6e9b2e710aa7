"""aesens: how sensitive are pre-trained audio embeddings to audio effects?

The package behind the notebooks. Data flow one way::

    data -> effects -> models -> embed -> store
                                   |
        sensitivity  trajectories  directions  projections  classify   (pure functions on arrays)
                                   |
              measure (tidy tables) -> claims, plots -> study -> run, report, cli

Start at `aesens.study.Study`, which joins the parts.

Public names
------------
- `aesens.cache`: atomic_path, cache_dir, runtime_environment
- `aesens.claims`: CONTROL, answers, decide, definitions, gates, verdicts
- `aesens.classify`: auc, auc_change, auc_loss, classifier_weights, classify, draw_random_strengths,
  draw_training_clips, grouped_folds, metric_table, metrics
- `aesens.cli`: main
- `aesens.cluster`: ClusterError, connect, device_of, spread
- `aesens.compare`: Tolerance, compare_runs, compare_tables, tolerance
- `aesens.data`: COLUMNS, DATASETS, INSTRUMENTS, load_dataset, register
- `aesens.data.clips`: COLUMNS, INSTRUMENTS, Dataset, check_clips, make_table, sort_instruments,
  spread_over_instruments
- `aesens.data.folder`: AUDIO_SUFFIXES, load_folder
- `aesens.data.irmas`: GENRES, IrmasName, at_hand, format_name, is_irmas, load_irmas, parse_name
- `aesens.data.rendered`: LATIN, MAX_EXCERPTS, MAX_SONGS, SAMPLE_RATE, find_soundfont, render_dataset,
  render_song
- `aesens.data.songs`: LEADS, SECONDS, Lead, Part, Song, compose
- `aesens.data.split`: SEED, SplitError, split_clips
- `aesens.directions`: DecodingReport, GlobalCCA, GlobalReport, LeastSquares, SampleWiseReport,
  cosine_between, decode_strength, global_direction_report, random_walks, samplewise_directions,
  samplewise_report, singular_spectrum, stack_centred, transfer
- `aesens.effects`: EFFECTS, Effect, effect, register
- `aesens.embed`: CLEAN, Sweep, extract, mono_at_rate
- `aesens.explore`: Explorer, explore, live
- `aesens.listen`: effect_levels, player, sweep_versions
- `aesens.logistic`: COSTS, LogisticFit, balanced_weights, fit_logistic, solve_logistic
- `aesens.measure`: agreement, classification, classifier_cosines, clean_classification, clip_umap,
  decoding, direction_points, direction_vectors, distances, fitted_subspaces, geometry, global_directions,
  layout, method_cosines, normalised_pca, projected, random_cosine, response, samplewise, spectra
- `aesens.models`: BACKENDS, MODELS, load_model, register
- `aesens.models.base`: POOLINGS, Embedder, ModelError, NoUntrainedWeights, WeightsInfo, choose_device,
  reads, seeded
- `aesens.models.clap`: CHECKPOINTS, CLAP, ClapNetwork, read_checkpoint
- `aesens.models.frontend`: frames_of, htk_mel_filters, spectrum, take_patches
- `aesens.models.hear`: HEAR, import_module, register_module
- `aesens.models.htsat`: RENAMED, SIZES, configuration, draw, read_tensors, to_original, to_transformers
- `aesens.models.msclap`: MSCLAP, MsclapNetwork, read_checkpoint
- `aesens.models.musicnn`: Musicnn, read_checkpoint
- `aesens.models.openl3`: OpenL3, OpenL3Network, read_keras, write_keras
- `aesens.models.panns`: Cnn14, PANNs, read_checkpoint
- `aesens.models.precision`: PRECISIONS, check_precision, computing, in_float32
- `aesens.models.reference`: REFERENCES, CLAPReference, OpenL3Reference, PANNsReference, placeholders,
  reference_class
- `aesens.models.winograd`: WinogradConv2d, direct_convolutions, with_winograd
- `aesens.models.yamnet`: YAMNet
- `aesens.names`: INSTRUMENTS, METRICS, MODELS, PROJECTIONS, colour, drawn_projections, instrument_title,
  marker, model_title, projection_title, strength_colours
- `aesens.new`: new_notebook
- `aesens.outputs`: package_versions, provenance_path, save_figure, save_table
- `aesens.parallel`: cores, each
- `aesens.parity`: report, summary, versions
- `aesens.paths`: from_root, repository
- `aesens.plan`: dry_run, plan, summary
- `aesens.plots.audio`: effect_strip
- `aesens.plots.curves`: against_null, agreement, auc_curves, sensitivity_curves, spectra
- `aesens.plots.data`: clean_classification, clean_map, clips_per_instrument
- `aesens.plots.maps`: claims_map, condition_title, effect_column, heatmap, model_effect_row, model_row
- `aesens.plots.style`: COLUMN, DIVERGING, MUTED, SEQUENTIAL, UNTRAINED, WIDTH, grid, legend_entries, mute,
  number, parameter_axis, present, use_style, wrapped
- `aesens.plots.trajectories`: correlation_boxes, correlation_grid, study_umap, trajectory_grid
- `aesens.profiles`: PROFILES, Profile, Scale, profile
- `aesens.progress`: tqdm
- `aesens.projections`: CONTROLS, PROJECTIONS, AverageDisplacement, GlobalCCAProjection, LDAProjection,
  NoProjection, NormalisedPCAProjection, PCAProjection, Projection, RandomDirection, RandomSubspace,
  SampleWiseSubspace, TrainingParts, added_names, added_sources, fit_all, make_projection,
  principal_variances, register_projection, remove, variance_ratios
- `aesens.report.build`: ReportError, build_report
- `aesens.report.cells`: markdown_html, notebook_html, opening
- `aesens.report.reference`: Entry, constant_comments, docstring_html, modules, public_entries
- `aesens.results`: check, compare, new, report
- `aesens.run`: RunError, notebooks, run
- `aesens.sensitivity`: clean_scale, cosine_distance, discontinuity, frechet_curve, frechet_distance,
  frechet_floor, jump_ratio, kendall_rows, l2_distance, monotonicity, monotonicity_null
- `aesens.sources`: execute_additions, import_file, imported_files, source_of
- `aesens.statistics`: Interval, bootstrap_songs, check_trajectories, derived_seed, holm,
  permutation_p_value, permute_within_clips, quantile_rank, resample_weights, spearman_rows,
  standardised_ranks, weighted_spearman
- `aesens.store`: BLOCK, Store, StoreError, address_hash, canonical
- `aesens.study`: NeedsSplit, Study
- `aesens.sweep`: EffectSweep
- `aesens.synthetic`: BORDER, KINDS, TRUTH, VARIANTS, judge, synthetic_sweep
- `aesens.tables`: shown
- `aesens.trajectories`: Scatter, components_for, displacement_scatter, energy_along, held_out_energy,
  leading_directions, participation_ratio, path_layout, path_over_chord, pca_layout, spectrum_components,
  spectrum_dimension, umap_layout, variance_spectrum
- `aesens.weights`: POLICIES, WEIGHTS, UntrainedWarning, WeightFile, WeightsError, add, add_to, fetch,
  files_of, given, resolve, state, verify, weights_table

References
----------
V. Deng, C. Wang, G. Richard, B. McFee, "Investigating the Sensitivity of Pre-trained Audio Embeddings to Common
Effects", ICASSP 2025, arXiv:2501.15900.
"""

import os

from aesens.cache import runtime_environment

__version__ = "0.1.0"

# matplotlib and numba choose their folders when they are imported, and would choose the home directory.
for _name in ("MPLCONFIGDIR", "NUMBA_CACHE_DIR"):
    os.environ.setdefault(_name, runtime_environment()[_name])
