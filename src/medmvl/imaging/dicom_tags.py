"""The tags of DICOM that pixels need: everything else of a file, the patient above all, is never kept."""

from __future__ import annotations

import pydicom

TAGS = [
    "ImageType", "SOPClassUID", "SOPInstanceUID", "Modality", "SeriesInstanceUID", "SeriesNumber", "AcquisitionNumber",
    "AcquisitionTime", "ContentTime", "TriggerTime", "FrameReferenceTime", "EchoTime", "EchoNumbers", "InversionTime",
    "FlipAngle", "TemporalPositionIdentifier", "DiffusionBValue", "DiffusionGradientOrientation", "InstanceNumber",
    "ConvolutionKernel", "KVP", "PatientPosition", "ContrastBolusAgent", "NominalPercentageOfCardiacPhase",
    "NominalPercentageOfRespiratoryPhase", "TemporalPositionTimeOffset", "SUVType", "DecayCorrection", "PixelAspectRatio",
    "PresentationLUTShape", "PixelSpacingCalibrationType", "PixelPresentation", "VolumetricProperties", "VOILUTSequence",
    "AnatomicalOrientationType", "ImagePlanePixelSpacing",
    "CorrectedImage", "SeriesType", "DoseType", "DoseSummationType", "ComplexImageComponent", "SliceLocation",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "ImagerPixelSpacing",
    "NominalScannedPixelSpacing", "SliceThickness", "SpacingBetweenSlices", "PatientOrientation", "SamplesPerPixel",
    "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit",
    "FloatPixelPaddingValue", "DoubleFloatPixelPaddingValue", "LossyImageCompression",
    "RescaleSlope", "RescaleIntercept", "RescaleType", "ModalityLUTSequence", "RealWorldValueMappingSequence",
    "MultienergyCTAcquisition", "Units", "DoseUnits", "DoseGridScaling", "GridFrameOffsetVector", "BurnedInAnnotation",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "DimensionIndexSequence",
    "DimensionOrganizationType", "SegmentSequence", "SegmentationType", "MaximumFractionalValue",
    "DetectorInformationSequence", "DetectorVector", "SliceVector", "TimeSlotVector", "RRIntervalVector",
    "EnergyWindowVector", "PhaseVector", "TimeSliceVector", "TotalPixelMatrixRows", "TotalPixelMatrixColumns",
    "NumberOfOpticalPaths", "TotalPixelMatrixFocalPlanes",
    "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData",
    "SegmentedRedPaletteColorLookupTableData", "SegmentedGreenPaletteColorLookupTableData",
    "SegmentedBluePaletteColorLookupTableData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
    "SequenceOfUltrasoundRegions", "PresentationIntentType", "InConcatenationNumber", "InConcatenationTotalNumber",
]  # fmt: skip
"""Tags kept of every file, where it has them."""
SETTINGS = [
    "RepetitionTime", "MagneticFieldStrength", "ReceiveCoilName", "SequenceName", "ScanningSequence", "SequenceVariant",
    "ScanOptions", "NumberOfAverages", "EchoTrainLength", "PixelBandwidth", "SpiralPitchFactor", "RevolutionTime",
    "ReconstructionDiameter", "GantryDetectorTilt", "AcquisitionMatrix",
]  # fmt: skip
"""Settings of the scan, kept as well. They are only compared, so a wrong number of values refuses no file."""

_INNER_TAGS = [
    "PixelMeasuresSequence", "PlanePositionSequence", "PlaneOrientationSequence", "PixelValueTransformationSequence",
    "CTImageFrameTypeSequence", "MRImageFrameTypeSequence", "PETFrameTypeSequence", "XRay3DFrameTypeSequence",
    "ParametricMapFrameTypeSequence", "FrameType", "FrameContentSequence", "TemporalPositionIndex", "MREchoSequence",
    "EffectiveEchoTime", "MRDiffusionSequence", "DiffusionGradientDirectionSequence", "CardiacSynchronizationSequence",
    "NominalCardiacTriggerDelayTime", "RespiratorySynchronizationSequence", "TemporalPositionSequence",
    "FrameAcquisitionNumber", "FrameAcquisitionDateTime", "StackID",
    "DimensionIndexValues", "DimensionIndexPointer", "SegmentIdentificationSequence", "ReferencedSegmentNumber",
    "CTReconstructionSequence", "CTXRayDetailsSequence", "MRTimingAndRelatedParametersSequence", "MRModifierSequence",
    "InversionTimes", "LUTDescriptor", "LUTData", "LUTLabel", "ModalityLUTType", "SegmentNumber", "SegmentLabel",
    "RealWorldValueFirstValueMapped", "RealWorldValueLastValueMapped", "RealWorldValueSlope",
    "RealWorldValueIntercept", "RealWorldValueLUTData", "DoubleFloatRealWorldValueFirstValueMapped",
    "DoubleFloatRealWorldValueLastValueMapped", "MeasurementUnitsCodeSequence", "CodeValue", "CodingSchemeDesignator",
    "PlanePositionVolumeSequence", "PlaneOrientationVolumeSequence", "ImagePositionVolume", "ImageOrientationVolume",
    "PlanePositionSlideSequence", "RowPositionInTotalImagePixelMatrix", "ColumnPositionInTotalImagePixelMatrix",
    "OpticalPathIdentificationSequence", "OpticalPathIdentifier", "ZOffsetInSlideCoordinateSystem",
    "RegionSpatialFormat", "PhysicalUnitsXDirection", "PhysicalUnitsYDirection", "PhysicalDeltaX", "PhysicalDeltaY",
]  # fmt: skip

NUMBERS = {keyword: pydicom.tag.Tag(keyword) for keyword in (*TAGS, *SETTINGS, *_INNER_TAGS)}
PLAIN = {
    tag: vr
    for tag in NUMBERS.values()
    if (vr := pydicom.datadict.dictionary_VR(tag)) in ("CS", "DS", "IS", "US", "FD", "FL", "UL")
}
"""Short numbers and terms, by their VR: their bytes alone decide their value."""
OVERLAY_BIT = pydicom.tag.Tag(0x6000, 0x0102)
"""Overlay Bit Position of the first overlay: where it is present, bits beyond those stored may be its own."""
SIEMENS_MOSAIC_COUNT = pydicom.tag.Tag(0x0019, 0x100A)
SIEMENS_B_VALUE = pydicom.tag.Tag(0x0019, 0x100C)
SIEMENS_CSA = pydicom.tag.Tag(0x0029, 0x1010)
GE_B_VALUE = pydicom.tag.Tag(0x0043, 0x1039)
UIH_GRID_COUNT = pydicom.tag.Tag(0x0065, 0x1050)
PHILIPS_B_VALUE = pydicom.tag.Tag(0x2001, 0x1003)
CREATORS = {
    SIEMENS_MOSAIC_COUNT: (pydicom.tag.Tag(0x0019, 0x0010), "SIEMENS MR HEADER"),
    SIEMENS_B_VALUE: (pydicom.tag.Tag(0x0019, 0x0010), "SIEMENS MR HEADER"),
    SIEMENS_CSA: (pydicom.tag.Tag(0x0029, 0x0010), "SIEMENS CSA HEADER"),
    GE_B_VALUE: (pydicom.tag.Tag(0x0043, 0x0010), "GEMS_PARM_01"),
    UIH_GRID_COUNT: (pydicom.tag.Tag(0x0065, 0x0010), "Image Private Header"),
    PHILIPS_B_VALUE: (pydicom.tag.Tag(0x2001, 0x0010), "Philips Imaging DD 001"),
}
"""Private elements that are read, each with the element that must name its owner."""

ACQUISITION_DAY = "acquisition day"
"""The one identity that does not separate scans by itself: a scan may run past midnight."""
IDENTITY = {
    "patient": ("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    "study": ("StudyInstanceUID", "StudyID", "AccessionNumber", "StudyDate", "StudyDescription"),
    "frame of reference": ("FrameOfReferenceUID",),
    "scanner": ("Manufacturer", "ManufacturerModelName", "StationName", "DeviceSerialNumber"),
    "reconstruction": ("ReconstructionAlgorithm", "ReconstructionMethod", "FilterType"),
    "description": ("SeriesDescription", "ProtocolName", "SeriesTime"),
    ACQUISITION_DAY: ("AcquisitionDate",),
}
"""Tags that are compared with one another and forgotten: their values are never kept, and never shown."""
IDENTITY_NUMBERS = tuple(pydicom.tag.Tag(keyword) for keywords in IDENTITY.values() for keyword in keywords)
READ = [
    *(NUMBERS[keyword] for keyword in (*TAGS, *SETTINGS)),
    *IDENTITY_NUMBERS,
    OVERLAY_BIT,
    *CREATORS,
    *dict.fromkeys(creator for creator, _ in CREATORS.values()),
]
"""Tags that the parser reads; values of `IDENTITY_NUMBERS` are dropped right after."""
ULTRASOUND_VOLUME = "1.2.840.10008.5.1.4.1.1.6.2"
"""Enhanced US Volume Storage."""
SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""SOP classes whose values are labels, whatever they are shown as."""
