"""The parts in a plain Trainer script."""

from lightning import Trainer, seed_everything
from lightning.pytorch.loggers import CSVLogger

from threedzal import MemoryBankCallback, ThreeDZAL, ZeroShotDataModule


def test_fit_and_test_without_the_command(data_root, tmp_path):
    seed_everything(0)
    bank = MemoryBankCallback()
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        callbacks=[bank],
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        logger=CSVLogger(tmp_path),
        default_root_dir=tmp_path,
    )
    model = ThreeDZAL(backbone="resnet18", rgb_weights="random", width=0.125)
    data = ZeroShotDataModule(
        data_root, "cone", "ring", image_size=112, positives_per_scan=4, batch_size=2, pseudo_scans=2, num_workers=0
    )
    trainer.fit(model, data)
    assert (tmp_path / "lightning_logs" / "version_0" / "fitted.ckpt").is_file()
    (metrics,) = trainer.test(model, data, verbose=False)
    assert 0 < metrics["test/ring/fused/aupro_0.3"] <= 1
    assert len(bank.results.scans) == 5
