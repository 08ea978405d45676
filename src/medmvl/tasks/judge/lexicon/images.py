"""What kind of image it is: modality, plane, view, sequence, contrast; sex and colours. A line: `facet:value: phrases`."""

IMAGES = """
modality:ct: ct, ct scan, cat scan, computed tomography
modality:cta < modality:ct: cta, ct angiography, ct angiogram
modality:mri: mri, mr, magnetic resonance
modality:mra < modality:mri: mra, mr angiography, mr angiogram
modality:radiograph: radiograph, radiography, plain radiograph
modality:ultrasound: ultrasound, doppler
modality:mammography: mammography
modality:pet: pet
modality:spect: spect, scintigraphy, bone scan
modality:angiography: angiography, angiogram, dsa, digital subtraction angiography
modality:fluoroscopy: fluoroscopy, fluoroscopic, barium swallow, barium enema, barium study, upper gi series
modality:oct: oct, optical coherence tomography
modality:endoscopy: endoscopy, endoscopic, colonoscopy, gastroscopy
modality:fundus: fundus photography, fundus photograph
modality:histology: histology, histopathology, pathology slide, microscopy
plane:axial: axial, transaxial, transverse plane, axial plane, axial view, axial section, axial slice, 轴位, 轴面, 轴状面,
    横断面, 横断位, 横轴位, 横切面
plane:coronal: coronal, coronal plane, coronal view, coronal section, coronal slice, 冠状位, 冠状面, 冠状
plane:sagittal: sagittal, midsagittal, sagittal plane, sagittal view, sagittal section, sagittal slice, 矢状位, 矢状面,
    矢状
view:ap: anteroposterior view, 前后位
view:pa: posteroanterior view, 后前位
view:lateral: lateral view, lateral projection, lateral radiograph, 侧位
view:oblique: oblique view, oblique projection, 斜位
view:decubitus: decubitus view, decubitus
sequence:t1: t1 weighted
sequence:t2: t2 weighted
sequence:flair < sequence:t2: flair, fluid attenuated inversion recovery
sequence:dwi: dwi, diffusion weighted, diffusion weighted imaging, diffusion weighted image, 弥散加权, 扩散加权
sequence:adc: adc, apparent diffusion coefficient
sequence:swi: swi, susceptibility weighted, susceptibility weighted imaging
sequence:gre: gre, gradient echo
sequence:pd: proton density, proton density weighted
contrast:with: with contrast, with iv contrast, with intravenous contrast, contrast enhanced, post contrast,
    postcontrast, with gadolinium, gadolinium enhanced, contrast was used, 增强扫描
contrast:without: without contrast, without iv contrast, without intravenous contrast, no contrast, non contrast,
    noncontrast, unenhanced, non enhanced, nonenhanced, pre contrast, precontrast, without gadolinium, 平扫
sex:male: male, man, boy, 男, 男性
sex:female: female, woman, girl, 女, 女性
colour:white: white, bright, 白色
colour:black: black, dark, 黑色
colour:gray: gray, grey, 灰色
"""
